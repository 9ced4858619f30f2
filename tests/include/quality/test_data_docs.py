"""What a page of Data Docs says is text, whatever the data, the contract and the use case hold."""

from __future__ import annotations

from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.links import PREDICTIONS_PAGE
from include.quality.data_docs import POLICY, front_page, offline
from include.quality.escaped_page import escaped
from include.quality.findings import Check, Finding, QualityReport, Severity
from include.quality.inspection import Inspection
from include.quality.predictions_page import Predicted, predictions_page
from include.quality.quiet_gx import gxe

DAY = date(2013, 10, 1)
PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<scr<script></script>ipt>alert(1)</scr<script></script>ipt>",
    "<svg/onload=alert(1)>",
    "</style><style>@import 'http://x'</style>",
    "</td></table><iframe srcdoc='<script>alert(1)</script>'>",
    '" onmouseover=alert(1) x="',
    "' autofocus onfocus=alert(1) '",
    "<a href=javascript:alert(1)>x</a>",
    "[x](javascript:alert(1))",
    "<!--",
    "<base href=//x/>",
    "<meta http-equiv=refresh content=0;url=//x>",
    "$table_title $styling $html_success_icon",
    "{{ 7 * 7 }}{% raw %}",
    "<footer>",
    "<link rel=stylesheet href=//x>",
    "&lt;script&gt;",
)
COLUMNS = 8


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser understands them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.add("a comment")

    @property
    def harmless(self) -> bool:
        """Whether it has nothing that runs, loads or leads elsewhere."""
        links = self.attributes.get("href", set())
        events = {name for name in self.attributes if name.startswith("on")}
        return not events and all(
            link.startswith(("#", ".", "validations/", "index.html", PREDICTIONS_PAGE)) for link in links
        )


def published(folder: Path, payloads: tuple[str, ...]) -> dict[str, str]:
    """The pages of a night whose cells, columns, rules, titles and error texts are these."""
    inspection = Inspection(DAY, folder)
    cells = pd.DataFrame({"k": list(payloads)} | {name: list(payloads) for name in payloads[:COLUMNS]})
    meta = {"check": "one_of", "expected": payloads[0]}
    rules: list[Any] = []
    for name in payloads[:COLUMNS]:
        rules += [
            gxe.ExpectColumnValuesToBeInSet(
                column=name, value_set=["a", name], mostly=0.5, meta=meta | {"column": name}
            ),
            gxe.ExpectColumnValuesToBeNull(column=name, mostly=0.9, meta=meta | {"column": name}),
            gxe.ExpectColumnDistinctValuesToBeInSet(column=name, value_set=[name], meta=meta | {"column": name}),
            gxe.ExpectColumnMaxToBeBetween(column=f"{name} is not there", max_value=1, meta=meta | {"column": name}),
        ]
    rules.append(
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["k", *payloads[:COLUMNS]], meta=meta | {"column": "k"})
    )
    found = inspection.findings("raw-flights", cells, rules)
    inspection.record("raw-types", cells, [gxe.ExpectColumnValuesToBeUnique(column="k")], index=("k",))
    inspection._context.build_data_docs()
    pages = {path.name: offline(path.read_text("utf-8")) for path in folder.rglob("*.html")}
    report = QualityReport(payloads[0], len(cells), 0, 0, len(rules), tuple(found))
    linked = {payloads[2]: f"validations/{payloads[2]}"}
    return pages | {"index.html": front_page(payloads[1], DAY, [report], linked, PREDICTIONS_PAGE)}


@pytest.mark.slow
def test_no_text_becomes_part_of_a_page_and_none_is_lost(tmp_path: Path) -> None:
    plain = published(tmp_path / "plain", tuple(f"c{number}" for number in range(len(PAYLOADS))))
    pages = published(tmp_path / "odd", PAYLOADS)
    assert len(pages) == len(plain) == 5

    for name, content in pages.items():
        page, usual = Page(content), Page(plain[name])
        assert page.harmless, name
        assert page.tags == usual.tags, name
        assert page.attributes.keys() == usual.attributes.keys(), name
        assert page.attributes["http-equiv"] == {"Content-Security-Policy"}
        assert POLICY in page.attributes["content"]
    shown = "".join(Page(content).text for content in pages.values())
    assert [payload for payload in PAYLOADS if payload not in shown] == []


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(), st.text())
def test_the_front_page_says_what_it_is_told_and_nothing_else(title: str, cell: str, column: str) -> None:
    finding = Finding("raw", Check.ONE_OF, column, Severity.HARD, 3, 1, cell, (cell,))
    reports = [QualityReport(column, 3, 0, 0, 1, (finding,))]
    content = front_page(title, DAY, reports, {cell: f"validations/{cell}"}, PREDICTIONS_PAGE)
    usual = front_page("t", DAY, [QualityReport("p", 3, 0, 0, 1, (finding,))], {"c": "validations/c"}, PREDICTIONS_PAGE)

    assert Page(content).tags == Page(usual).tags
    assert Page(content).attributes.keys() == Page(usual).attributes.keys()
    assert Page(content).harmless


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_the_page_of_predictions_says_what_it_is_told_and_nothing_else(
    title: str, horizon: str, version: str, answer: str, column: str
) -> None:
    def made(title: str, horizon: str, version: str, answer: str, column: str) -> Page:
        one = Predicted(horizon, DAY, 4, version, [(answer, 3), ("other", 1)])
        return Page(predictions_page(title, DAY, [one], answer=column, without=[horizon]))

    page, usual = made(title, horizon, version, answer, column), made("t", "h", "v", "a", "c")

    assert page.tags == usual.tags and page.attributes == usual.attributes
    assert page.harmless
    assert "75.0%" in page.text and "width: 75.00%" in page.attributes["style"]


CONTENT = st.recursive(
    st.text() | st.integers() | st.none() | st.dates(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(CONTENT)
def test_nothing_that_is_escaped_can_begin_a_tag_or_end_an_attribute(content: Any) -> None:
    assert not {"<", ">", '"', "'"} & set(_texts(escaped(content)))


def _texts(content: Any) -> str:
    if isinstance(content, dict):
        return "".join(key + _texts(value) for key, value in content.items())
    if isinstance(content, list):
        return "".join(map(_texts, content))
    return content if isinstance(content, str) else ""
