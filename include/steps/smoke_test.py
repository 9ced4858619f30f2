"""smoke_test: ask the service about scored rows; a wrong answer puts the previous model back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from formats.answers.kinds import kind_of
from formats.portable_model import PortableModel
from formats.release import InService, ReleaseEvent
from include.deployment.registry import tell_registry
from include.deployment.release import open_conductor
from include.deployment.sampled_rows import evenly
from include.deployment.serving_api import ServingApi
from include.deployment.writer import ReleaseWriter, Tail
from include.errors import DataError, FaultError, StepError
from include.modelling.inputs import Matrix
from include.modelling.scoring import answers, feature_partition, load_model, prediction_partition, raw_rows
from include.modelling.tasks.tasks import task_of_model
from include.settings import Settings
from include.step import Context, Result, StepArguments, main
from include.steps.score import MODEL_VERSION
from include.storage.lake import Partition
from include.use_case import Horizon

SAMPLE_ROWS = 50
PAUSE_SECONDS = 0.25
TOLERANCE = 1e-6
"""How far a served answer may be from the batch prediction, as probability, or as a part of a number beyond 1."""

log = logging.getLogger("nightshift")


class SmokeTestArguments(StepArguments):
    """Command-line arguments of smoke_test."""


@dataclass(frozen=True)
class SmokeRows:
    """Some rows of a horizon's day, and what the version in service must answer.

    `published` says whether that is taken from published predictions, or computed from the model file because another
    version made (or nobody made) the partition.
    """

    horizon: Horizon
    day: date
    features: pa.Table
    expected: Matrix
    published: bool


def smoke_test(context: Context, arguments: SmokeTestArguments) -> Result:
    """Check that the version in service is the one deployed last and answers as batch scoring does, to `TOLERANCE`.

    If not, raises `DataError`, and a new deployment, which has not passed a smoke test yet, is replaced by the previous
    one, or withdrawn if it was the first.
    """
    api = ServingApi.open(context.settings, context.use_case.name)
    writer = ReleaseWriter.open(context.settings, context.use_case.name)
    tail = writer.tail()
    current = tail.release.serving
    if current is None:
        return _nothing_to_test(api)
    model = load_model(context.lake, current.sha256)
    samples = list(_samples(context, model, current.version, arguments.date))
    try:
        _require_served(api, current, context.settings.release_seconds)
        worst = {sample.horizon.name: _ask(api, model, current, sample) for sample in samples}
    except DataError as error:
        raise DataError(_put_back(context.settings, writer, tail, current, str(error))) from None
    sources = {sample.horizon.name: "predictions" if sample.published else "model file" for sample in samples}
    rows = {sample.horizon.name: len(sample.expected) for sample in samples}
    if not current.checked:
        passed = tail.release.model_copy(update={"serving": current.model_copy(update={"checked": True})})
        figures = {"date": arguments.date.isoformat(), "rows": rows, "worst": worst, "against": sources}
        writer.append(tail, ReleaseEvent.CHECKED, current.version, passed, metrics=figures)
    log.info("smoke test: version %s answers as it should: %s", current.version, worst)
    return Result(
        rows=rows,
        metrics={f"{name}_worst_difference": value for name, value in worst.items()},
        uris={"serving": api.url},
        facts={"version": current.version, "against": sources},
    )


def _nothing_to_test(api: ServingApi) -> Result:
    served = api.served()
    if served is not None:
        raise DataError(f"smoke test: serving at {api.url} serves version {served.version}, which nobody deployed here")
    log.warning("smoke test: nothing was deployed yet, so there is nothing to ask")
    return Result(facts={"version": None, "why": "nothing was deployed yet"})


def _samples(context: Context, model: PortableModel, version: str, data_day: date) -> Iterator[SmokeRows]:
    for horizon in context.use_case.spec.horizons:
        day = data_day + timedelta(days=horizon.day_offset)
        features = evenly(context.lake.read(feature_partition(horizon, day)), SAMPLE_ROWS)
        published = _published(context, model, prediction_partition(horizon, day), features, version)
        expected = answers(model, features) if published is None else published
        yield SmokeRows(horizon, day, features, expected, published is not None)


def _published(
    context: Context, model: PortableModel, partition: Partition, features: pa.Table, version: str
) -> Matrix | None:
    """The published predictions of those examples; None when this version did not make them."""
    if context.lake.manifest(partition) is None:
        return None
    predictions = context.lake.read(partition)
    if pc.unique(predictions[MODEL_VERSION]).to_pylist() != [version]:
        return None
    key = context.use_case.spec.key
    places = pc.index_in(features[key], value_set=predictions[key].combine_chunks())
    return task_of_model(model.description).answers(predictions.take(places))


def _require_served(api: ServingApi, current: InService, seconds: float) -> None:
    """Wait until the version is served: a server may not have found a new use case yet; `DataError` if it never is."""
    deadline = time.monotonic() + seconds
    while (served := api.served()) is None or (served.version, served.sha256) != (current.version, current.sha256):
        if time.monotonic() >= deadline:
            found = f"version {served.version}" if served else "nothing"
            raise DataError(f"version {current.version} was deployed, but {found} is served after {seconds:g} s")
        time.sleep(PAUSE_SECONDS)


def _ask(api: ServingApi, model: PortableModel, current: InService, sample: SmokeRows) -> float:
    """The greatest difference between served and expected answers; `DataError` when it is too great."""
    if not len(sample.expected):
        return 0.0
    answer = api.predict(raw_rows(sample.features, model.inputs))
    answered = kind_of(model.description).found(answer.body)
    if answer.version != current.version or answered.shape != sample.expected.shape:
        raise DataError(
            f"asked {len(sample.expected)} rows of version {current.version}, "
            f"version {answer.version} answered {len(answered)}"
        )
    given, expected = (each.reshape(len(answered), -1) for each in (answered, sample.expected))
    off = np.abs(given - expected) / np.maximum(1.0, np.abs(expected))
    differences = np.nan_to_num(off, nan=np.inf).max(axis=1)
    wrong = int((differences > TOLERANCE).sum())
    if wrong:
        worst = int(differences.argmax())
        told, wanted = (", ".join(f"{value:.9f}" for value in each[worst]) for each in (given, expected))
        raise DataError(
            f"{sample.horizon.name} of {sample.day}: {wrong} of {len(differences)} answers differ from batch scoring"
            f" by more than {TOLERANCE:g}; the worst is {told} for {wanted}"
        )
    return float(differences.max())


def _put_back(settings: Settings, writer: ReleaseWriter, tail: Tail, failed: InService, why: str) -> str:
    """Undo a deployment that fails its first smoke test; the line that says so."""
    line = f"smoke test of version {failed.version} failed: {why}"
    if failed.checked or failed.event not in (ReleaseEvent.DEPLOYED, ReleaseEvent.PROMOTED):
        return f"{line}; it served well before and stays: look at the servers and the features, or `make rollback`"
    event = ReleaseEvent.RESTORED
    previous = tail.release.before[-1] if tail.release.before else None
    if previous is None:
        gone = tail.release.taking_out(failed, event, line, writer.now()).model_copy(update={"serving": None})
        writer.append(tail, ReleaseEvent.WITHDRAWN, failed.version, gone, why=line)
    else:
        conductor = open_conductor(settings, writer)
        try:
            conductor.serve(tail, previous, event, ended=event, why=line)
        except StepError as error:
            raise FaultError(
                f"{line}; version {previous.version} could not be put back ({error}), so it serves on"
            ) from None
    told = tell_registry(
        settings, writer.log.use_case, out=failed.version, back=previous.version if previous else None, reason=line
    )
    done = f"version {previous.version} was put back" if previous else "it was withdrawn, nothing served before"
    return f"{line}; {done} (registry: {told})"


if __name__ == "__main__":
    main(SmokeTestArguments, smoke_test)
