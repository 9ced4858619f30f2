"""Great Expectations' pages with escaped texts: it puts cells, column names and errors into HTML unescaped."""

from __future__ import annotations

from html import escape
from typing import Any

from include.quality.quiet_gx import PageView

MARKUP = "html_success_icon"
"""The one parameter of these pages that is HTML of Great Expectations' own."""


class EscapedPage(PageView):  # type: ignore[misc]
    """The view that Data Docs are made with: every text of a page stays text."""

    def render(self, document: Any, template: str | None = None, **given: Any) -> str:
        """The page as HTML."""
        return str(super().render(escaped(document.to_json_dict()), template, **given))

    def render_markdown(self, markdown: str) -> str:
        """Notes as plain text: as Markdown they could hold links and HTML."""
        return markdown

    def _validate_document(self, document: Any) -> None:
        """It is a dictionary by now."""

    @staticmethod
    def _escape_template_param_value(value: Any) -> Any:
        return value  # all of them are escaped already


def escaped(content: Any) -> Any:
    """The parts of a page, with every text safe as an element's content and as an attribute's value."""
    if isinstance(content, dict):
        return {escape(str(key)): value if key == MARKUP else escaped(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [escaped(each) for each in content]
    if content is None or isinstance(content, bool | int | float):
        return content
    return escape(str(content))
