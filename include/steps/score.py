"""score: one prediction for each scheduled example, by a version that had not seen its day."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from formats.manifest import Manifest
from formats.partition import day_folder
from include import identity
from include.errors import DataError
from include.links import PREDICTIONS_PAGE
from include.model_registry.versions import Registry, Version
from include.modelling.scoring import feature_partition, load_model, prediction_partition, predictions
from include.modelling.tasks.tasks import task_of
from include.predictions.lookup import publish_lookup
from include.quality.predictions_page import Predicted, predictions_page
from include.step import Context, Result, StepArguments, main
from include.storage.lake import DECISIONS, Dataset, Lake, Layer, Partition
from include.use_case import Horizon

AS_OF = "as_of"
MODEL_VERSION = "model_version"
FILE = "predictions.parquet"

log = logging.getLogger("nightshift")


class ScoreArguments(StepArguments):
    """Command-line arguments of score."""


@dataclass(frozen=True)
class Scored:
    """A horizon's published predictions, and the version that made them."""

    horizon: Horizon
    day: date
    manifest: Manifest
    version: str
    made_now: bool


def score(context: Context, arguments: ScoreArguments) -> Result:
    """Publish each horizon's predictions of the run's own day; what is published stays unless forced or out of date.

    It is out of date if it came from other features, examples or another decision of the run. A newer version of
    another run is no reason: existing predictions are history. Partition P is predicted by the newest approved version
    trained through a day before P; its lookup comes after it, and the night's page of Data Docs last. Raises
    `DataError` when features and scheduled examples are not the same rows, or the model file is damaged.
    """
    found = {
        horizon.name: _score(context, horizon, arguments.date, force=arguments.force)
        for horizon in context.use_case.spec.horizons
    }
    scored = [one for one in found.values() if one is not None]
    unscored = [name for name, one in found.items() if one is None]
    for name in unscored:
        log.warning("score: %s: no approved version has seen only earlier days; nothing is predicted", name)
    partitions = {one.horizon.name: prediction_partition(one.horizon, one.day) for one in scored}
    for one in scored:
        features = feature_partition(one.horizon, one.day)
        publish_lookup(context, partitions[one.horizon.name], features, force=arguments.force)
        state = "published" if one.made_now else "was published before"
        log.info(
            "score: %s %s: %d rows by version %s, %s", one.horizon.name, one.day, one.manifest.rows, one.version, state
        )
    docs = _publish_page(context, arguments.date, scored, unscored)
    return Result(
        rows={str(partitions[one.horizon.name].dataset): one.manifest.rows for one in scored},
        uris={str(partition.dataset): context.lake.uri(partition) for partition in partitions.values()}
        | {"data_docs": docs},
        facts={"versions": {one.horizon.name: one.version for one in scored}}
        | ({"no_version_for": unscored} if unscored else {}),
    )


def _publish_page(context: Context, data_day: date, scored: Sequence[Scored], unscored: Sequence[str]) -> str:
    """Put the page of the night's predictions beside those of validation; its address."""
    lake, spec = context.lake, context.use_case.spec
    task = task_of(spec)
    predicted = [
        Predicted(one.horizon.name, one.day, one.manifest.rows, one.version, task.spread(answers))
        for one in scored
        for answers in [lake.read(prediction_partition(one.horizon, one.day), task.predicted)]
    ]
    page = predictions_page(spec.title, data_day, predicted, answer=task.predicted[0], without=unscored)
    return lake.put(f"data_docs/{day_folder(data_day)}/{PREDICTIONS_PAGE}", page.encode())


def _score(context: Context, horizon: Horizon, data_day: date, *, force: bool) -> Scored | None:
    lake = context.lake
    day = data_day + timedelta(days=horizon.day_offset)
    partition = prediction_partition(horizon, day)
    made_from = _made_from(context, horizon, data_day, day)
    inputs = {str(one): manifest.sha256 for one, manifest in made_from.items()}
    published = lake.manifest(partition)
    if published and not force:
        # What an older release did not note is no reason to predict again.
        noted = {name: published.inputs[name] for name in inputs if name in published.inputs}
        changed = identity.differences(noted, {name: inputs[name] for name in noted})
        if not changed:
            return Scored(horizon, day, published, published_version(lake, horizon, day), made_now=False)
        log.info("score: %s is out of date (another %s) and made again", partition, changed)
    version = Registry.open(context.settings, context.use_case.name).newest_before(day)
    if version is None:
        return None
    predictions = _predict(context, made_from, version, horizon, day)
    inputs[f"models/{version.sha256}.onnx"] = version.sha256
    manifest = lake.publish(partition, {FILE: predictions}, inputs=inputs, force=force or published is not None)
    # Of two runs at once one publishes: the other reports what the winner published.
    return Scored(horizon, day, manifest, published_version(lake, horizon, day), made_now=True)


def _made_from(context: Context, horizon: Horizon, data_day: date, day: date) -> dict[Partition, Manifest]:
    """The partitions that predictions are made from, as far as they are published."""
    examples = Dataset(Layer.RAW, context.use_case.spec.examples).on(day)
    asked = (feature_partition(horizon, day), examples, DECISIONS.on(data_day))
    return {one: manifest for one in asked if (manifest := context.lake.manifest(one))}


def _predict(
    context: Context, made_from: Mapping[Partition, Manifest], version: Version, horizon: Horizon, day: date
) -> pa.Table:
    """One row for each scheduled example, in its order: key, carried columns, as_of, prediction, model_version."""
    lake, spec = context.lake, context.use_case.spec

    def read(partition: Partition, columns: list[str] | None = None) -> pa.Table:
        return lake.read_as(made_from.get(partition) or lake.require(partition), partition, columns)

    examples = read(Dataset(Layer.RAW, spec.examples).on(day), list(dict.fromkeys([spec.key, *spec.carried])))
    features = _aligned(read(feature_partition(horizon, day)), examples[spec.key], spec.key, horizon, day)
    return predicted(examples.append_column(AS_OF, features[AS_OF]), features, lake, version)


def predicted(rows: pa.Table, features: pa.Table, lake: Lake, version: Version) -> pa.Table:
    """Rows with what a version predicts for their features, and its name."""
    for name, column in predictions(load_model(lake, version.sha256), features).items():
        rows = rows.append_column(name, column)
    return rows.append_column(MODEL_VERSION, pa.array([version.version] * rows.num_rows, pa.string()))


def _aligned(features: pa.Table, keys: pa.ChunkedArray, key: str, horizon: Horizon, day: date) -> pa.Table:
    """The feature rows in the order of `keys`; `DataError` unless each key has exactly one and no other is there."""
    places = pc.index_in(keys, value_set=features[key].combine_chunks())
    absent = pc.sum(pc.is_null(places)).as_py() or 0
    if absent or features.num_rows != len(keys) or len(pc.unique(keys)) != len(keys):
        example = f", such as {keys.filter(pc.is_null(places))[0].as_py()}" if absent else ""
        raise DataError(
            f"score: features/{horizon.name} of {day} have {features.num_rows} rows for {len(keys)} scheduled examples"
            f" ({absent} without features{example}); compute the features again with --force"
        )
    return features.take(places)


def published_version(lake: Lake, horizon: Horizon, day: date) -> str:
    """The version that made a partition of predictions; empty for a partition without rows."""
    column = lake.read(prediction_partition(horizon, day), [MODEL_VERSION])[MODEL_VERSION]
    return str(column[0].as_py()) if len(column) else ""


if __name__ == "__main__":
    main(ScoreArguments, score)
