"""Foreign text on our lines: short, printable, and never lines of its own."""

from __future__ import annotations

import ast
import logging

from hypothesis import given
from hypothesis import strategies as st

from include.excerpt import excerpt, printable
from include.log_lines import LineFormatter, without_controls


@given(st.text(), st.integers(1, 50))
def test_an_excerpt_is_one_printable_line_of_so_many_letters_at_most(text: str, length: int) -> None:
    shown = excerpt(text, length)
    assert shown.isprintable()
    assert shown.endswith("…") or printable(text) == shown
    assert printable(text[:length]) == shown.removesuffix("…") or text == shown


@given(st.text(alphabet=st.characters(exclude_characters="\\\\'")))
def test_what_is_escaped_can_be_read_back(text: str) -> None:
    assert ast.literal_eval(f"'{printable(text)}'") == text


@given(st.text())
def test_a_message_of_a_log_is_one_line_whatever_is_in_it(text: str) -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "told: %s", (text,), None)
    assert LineFormatter("%(message)s").format(record).isprintable()


@given(st.text())
def test_no_line_of_a_traceback_passes_for_one_of_the_log(text: str) -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "told", (), (ValueError, ValueError(text), None))
    message, *lines = LineFormatter("%(message)s").format(record).splitlines()
    assert message == "told"
    assert all(line.startswith("| ") for line in lines)


@given(st.text())
def test_printed_text_keeps_its_lines_and_tabs_and_controls_nothing(text: str) -> None:
    shown = without_controls(text)
    assert shown.count("\n") == text.count("\n")
    assert shown.count("\t") == text.count("\t")
    assert not set(shown) & set("\x1b\x07\x08\r\x7f\x9b\u202e\u2066\u2028")
