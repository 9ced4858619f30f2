"""What this project uses of Great Expectations beyond its public interface."""

from __future__ import annotations

import inspect
from pathlib import Path

import great_expectations

from include.quality.escaped_page import MARKUP, EscapedPage
from include.quality.quiet_gx import PageView, ProgressBarsConfig, gx

PACKAGE = Path(great_expectations.__file__).parent


def test_great_expectations_still_renders_its_pages_by_this_view() -> None:
    render = inspect.signature(PageView.render).parameters
    assert list(render)[:3] == ["self", "document", "template"]
    assert "self._validate_document(document)" in inspect.getsource(PageView.render)
    for name in ("render_markdown", "_validate_document", "_escape_template_param_value"):
        theirs = list(inspect.signature(getattr(PageView, name)).parameters)
        assert len(inspect.signature(getattr(EscapedPage, name)).parameters) == len(theirs)


def test_great_expectations_still_has_one_html_icon_of_its_own() -> None:
    assert MARKUP in PageView._TRUSTED_HTML_PARAMS
    assert {MARKUP, "formatted_json"} >= PageView._TRUSTED_HTML_PARAMS, "what else it writes as HTML needs a look"


def test_great_expectations_still_shows_no_progress_by_this_setting() -> None:
    assert ProgressBarsConfig(globally=False).globally is False
    assert "progress_bars" in dir(type(gx.get_context(mode="ephemeral").variables))


def test_great_expectations_still_logs_while_it_is_imported_under_this_name() -> None:
    source = (PACKAGE / "data_context" / "types" / "base.py").read_text(encoding="utf-8")
    assert "logger.setLevel(" in source


def test_great_expectations_still_loads_from_elsewhere_what_is_taken_out() -> None:
    templates = (PACKAGE / "render" / "view" / "templates").glob("*.j2")
    loading = "".join(path.read_text(encoding="utf-8") for path in templates)
    assert "<head>" in loading
    assert "</head>" in loading
    assert "<script" in loading
