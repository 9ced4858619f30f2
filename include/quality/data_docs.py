"""Data Docs that need no network: pages of our own, and Great Expectations' pages without external files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from urllib.parse import quote

from include.quality.findings import Finding, QualityReport, Severity

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2430; max-width: 76rem; margin: 2rem auto; padding: 0 1.5rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem; border-bottom: 1px solid #dfe3ea }
th { background: #f3f5f9; font-weight: 600 }
h1 { font-size: 1.5rem } h2, h4, h5 { font-size: 1.1rem; margin: 1.2rem 0 .3rem }
a { color: #1b5fae; text-decoration: none } a:hover { text-decoration: underline }
.ok { color: #1a7f42 } .soft { color: #a66300 } .hard { color: #b3261e; font-weight: 600 }
.breadcrumb { list-style: none; padding: 0; display: flex; gap: 1rem }
.ge-navigation-sidebar-content { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .1rem 1rem }
.wide { width: 50% } .bar { background: #1b5fae; height: 1rem }
.card:has(label) { display: none }
.fa-check-circle::before { content: "✓"; color: #1a7f42 } .fa-times::before { content: "✗"; color: #b3261e }
.fa-exclamation-triangle::before { content: "!"; color: #a66300 }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser lets these pages do, wherever they are opened: apply their styles, and nothing else."""

_HEAD = f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
_LOADED = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*\bsrc=\"https?:[^>]*>|<footer\b.*?</footer>|<style\b.*?</style>"
    r"| onclick=\"[^\"]*\"",
    re.DOTALL,
)


def offline(made: str) -> str:
    """A page of Great Expectations as plain HTML: no script, nothing that a browser would fetch from elsewhere."""
    made = _LOADED.sub("", made).replace("<head>", _HEAD, 1)
    return made.replace("</head>", f"<style>{STYLE}</style></head>", 1)


@dataclass(frozen=True)
class Link:
    """An address beside a page, and what it is called."""

    address: str
    words: str


def page(heading: str, title: str, link: Link, body: str) -> str:
    """A page of our own: its heading, the use case's title, a link to its neighbour, and HTML that is escaped."""
    return (
        f'<!DOCTYPE html><html lang="en">{_HEAD}<meta charset="utf-8"><title>{escape(title)}: {escape(heading)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(heading)}</h1><p>{escape(title)}</p>"
        f'<p><a href="{quote(link.address)}">{escape(link.words)}</a></p>{body}</body></html>\n'
    )


def front_page(
    title: str, day: date, reports: Sequence[QualityReport], pages: Mapping[str, str], predictions: str
) -> str:
    """The night at a glance: each partition with its findings, and links to `pages` (suite name to address)."""
    rows = "".join(_row(report) for report in reports)
    findings = [finding for report in reports for finding in report.findings]
    found = "".join(_finding(finding) for finding in sorted(findings, key=lambda finding: finding.severity))
    links = "".join(f'<li><a href="{quote(to)}">{escape(name)}</a></li>' for name, to in sorted(pages.items()))
    listed = f"<table><tr><th>Severity<th>Where<th>Rule<th>Column<th>Rows<th>Expected<th>Such as</tr>{found}</table>"
    body = (
        f"<table><tr><th>Partition<th>Rows<th>History looked at<th>Checks<th>Result</tr>{rows}</table>"
        f"<h2>Findings</h2>{listed if findings else '<p class=ok>None.</p>'}"
        f"<h2>All checks</h2><ul>{links}</ul>"
    )
    return page(f"Data of {day}", title, Link(predictions, "Predictions of the same night"), body)


def _row(report: QualityReport) -> str:
    failed, warned = len(report.failures), len(report.warnings)
    verdict = f"<td class=hard>{_count(failed, 'failure')}" if failed else "<td class=ok>passed"
    verdict += f", <span class=soft>{_count(warned, 'warning')}</span>" if warned else ""
    history = f"{report.history_days} days, {report.history_rows} rows" if report.history_days else "nothing new"
    return f"<tr><td>{escape(report.partition)}<td>{report.rows}<td>{history}<td>{report.checks}{verdict}</tr>"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _finding(finding: Finding) -> str:
    kind = "hard" if finding.severity is Severity.HARD else "soft"
    cells = (
        finding.dataset,
        str(finding.check),
        finding.column,
        f"{finding.broken} of {finding.rows}",
        finding.expected,
        ", ".join(finding.examples),
    )
    return f"<tr><td class={kind}>{finding.severity}" + "".join(f"<td>{escape(cell)}" for cell in cells) + "</tr>"
