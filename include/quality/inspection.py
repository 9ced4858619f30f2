"""Great Expectations at work: suites run against frames, findings out, Data Docs into the lake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from formats.partition import day_folder
from include.excerpt import excerpt
from include.links import FRONT_PAGE, PREDICTIONS_PAGE
from include.quality.data_docs import front_page, offline
from include.quality.findings import Check, Finding, QualityReport, Severity
from include.quality.predictions_page import predictions_page
from include.quality.quiet_gx import Expectation, ProgressBarsConfig, gx
from include.storage.lake import Lake

EXAMPLES = 3
EXAMPLE_LENGTH = 60
WRITERS = 8


class Inspection:
    """One night's validation of a use case: its suites, their results and the site that shows them."""

    def __init__(self, day: date, folder: Path) -> None:
        self._day = day
        self._folder = folder
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        for site in list(self._context.list_data_docs_sites()):
            self._context.delete_data_docs_site(site)
        view = {"view": {"module_name": "include.quality.escaped_page", "class_name": "EscapedPage"}}
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
        self._context.add_data_docs_site(
            "lake",
            {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_section_builders": {"expectations": view, "validations": view},
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": backend,
            },
        )
        self._source = self._context.data_sources.add_pandas("lake")
        self.checks = 0

    def findings(self, name: str, frame: pd.DataFrame, expectations: Sequence[Expectation]) -> list[Finding]:
        """The expectations that the frame does not meet; `name` titles the suite on the site."""
        results = self.record(name, frame, expectations)
        return [finding for one in results for finding in _finding(name, frame, one)]

    def record(
        self, name: str, frame: pd.DataFrame, expectations: Sequence[Expectation], *, index: Sequence[str] = ()
    ) -> Sequence[Any]:
        """Check the frame and put the results on the site, with bad rows named by `index` columns."""
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("day")
        suite = self._context.suites.add(gx.ExpectationSuite(name, expectations=list(expectations)))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        detail = {"result_format": "COMPLETE", "unexpected_index_column_names": list(index)}
        result = self._context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame},
            result_format=detail if index else {"result_format": "BASIC", "partial_unexpected_count": 20},
            run_id=gx.RunIdentifier(run_name=self._day.isoformat()),
        )
        self.checks += len(result.results)
        return list(result.results)

    def publish(self, lake: Lake, title: str, reports: Sequence[QualityReport]) -> str:
        """Build the site, put it into the lake and return its front page's address."""
        self._context.build_data_docs()
        site = {
            path.relative_to(self._folder).as_posix(): offline(path.read_text("utf-8")).encode()
            for path in sorted(self._folder.rglob("*.html"))
        }
        target = f"data_docs/{day_folder(self._day)}"
        # Pages of an earlier attempt that passed are not made again, but still linked.
        there = lake.store.names(f"{lake.prefix}/{target}")
        named = [name.removeprefix(f"{lake.prefix}/{target}/") for name in there]
        pages = {name.split("/")[1]: name for name in [*named, *site] if name.startswith("validations/")}
        site[FRONT_PAGE] = front_page(title, self._day, reports, pages, PREDICTIONS_PAGE).encode()
        if PREDICTIONS_PAGE not in named:  # score writes it, if nothing stops the night
            site[PREDICTIONS_PAGE] = predictions_page(title, self._day).encode()
        with ThreadPoolExecutor(WRITERS) as pool:
            puts = {name: pool.submit(lake.put, f"{target}/{name}", page) for name, page in site.items()}
        return {name: put.result() for name, put in puts.items()}[FRONT_PAGE]


def _finding(dataset: str, frame: pd.DataFrame, result: Any) -> Iterator[Finding]:
    """The finding that one expectation's result amounts to, if any."""
    meta, detail = result.expectation_config.meta, result.result
    check, column = Check(meta["check"]), str(meta["column"])
    broken = int(detail.get("unexpected_count") or 0)
    values = detail.get("partial_unexpected_list") or []
    if not result.success and (raised := _exception(result.exception_info)):
        broken, values = len(frame), [raised]
    elif result.success and (check is Check.NULLS or check is Check.REFERENCE or not broken):
        return
    elif "observed_value" in detail:
        broken, values = _outside(frame, result)
    severity = SEVERITIES[result.expectation_config.severity.value] if not result.success else Severity.SOFT
    shown = () if check in (Check.REQUIRED, Check.NULLS) else (value for value in values if not _absent(value))
    examples = tuple(dict.fromkeys(excerpt(value, EXAMPLE_LENGTH) for value in shown))[:EXAMPLES]
    yield Finding(dataset, check, column, severity, len(frame), broken, str(meta["expected"]), examples)


SEVERITIES = {"critical": Severity.HARD, "warning": Severity.SOFT, "info": Severity.SOFT}


def _outside(frame: pd.DataFrame, result: Any) -> tuple[int, list[Any]]:
    """How many rows are behind a failed expectation about a whole column (or table), and some of their values."""
    kwargs, observed = result.expectation_config.kwargs, result.result["observed_value"]
    name = kwargs.get("column")
    if name is None:
        return len(frame), []
    if isinstance(observed, pd.Timestamp) or observed is pd.NaT:
        return len(frame), [observed]
    values = frame[name].dropna()
    if "value_set" in kwargs:
        outside = values[~values.isin(kwargs["value_set"])]
    else:
        least, most = kwargs.get("min_value"), kwargs.get("max_value")
        outside = values[(values < least) if most is None else (values > most)]
    return len(outside), outside.unique()[:EXAMPLES].tolist()


def _exception(info: Any) -> str | None:
    """What an expectation raised, for the whole of it or for one of its metrics."""
    told = [info, *(each for each in info.values() if isinstance(each, dict))]
    return next((str(each["exception_message"]) for each in told if each.get("raised_exception")), None)


def _absent(value: Any) -> bool:
    return value is None or value is pd.NaT or value != value  # noqa: PLR0124 - NaN is not itself
