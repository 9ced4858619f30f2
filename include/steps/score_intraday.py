"""score_intraday: one prediction for each example that is due within the next hours."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pyarrow as pa

from include.errors import SkippedError
from include.modelling.intraday import IntradayArguments
from include.modelling.scoring import load_model, probabilities
from include.registry.versions import Registry
from include.step import Context, Result, main
from include.steps.score import AS_OF, FILE, MODEL_VERSION, PROBABILITY, lookup_file
from include.storage.lake import Layer

log = logging.getLogger("nightshift")


class Arguments(IntradayArguments):
    """What score_intraday is told."""


def score_intraday(context: Context, arguments: Arguments) -> Result:
    """Publish a prediction for each row of the moment's features, by the newest version that had not seen their day.

    What is published stays unless forced. Raises `SkippedError` while no such version is approved, `DataError` when the
    features are not there.
    """
    spec, lake = context.use_case.spec, context.lake
    arguments.checked_horizon(spec, datetime.now(UTC))
    made_from, target = arguments.partition(Layer.FEATURES), arguments.partition(Layer.PREDICTIONS)
    published = None if arguments.force else lake.manifest(target)
    if published is None:
        version = Registry.open(context.settings, context.use_case.name).newest_before(arguments.date)
        if version is None:
            raise SkippedError(f"no approved version has seen only days before {arguments.date}; train one first")
        features = lake.read(made_from)
        model = load_model(lake, version.sha256)
        predictions = (
            features.select(list(dict.fromkeys([spec.key, *spec.carried, AS_OF])))
            .append_column(PROBABILITY, pa.array(probabilities(model, features), pa.float64()))
            .append_column(MODEL_VERSION, pa.array([version.version] * features.num_rows, pa.string()))
        )
        inputs = {str(made_from): lake.require(made_from).sha256, f"models/{version.sha256}.onnx": version.sha256}
        files = {FILE: predictions} | lookup_file(context.use_case, predictions, features)
        published = lake.publish(target, files, inputs=inputs, force=arguments.force)
        log.info("score_intraday: %d rows by version %s", features.num_rows, version.version)
    name = str(arguments.dataset(Layer.PREDICTIONS))
    return Result(rows={name: published.rows}, uris={name: lake.uri(target)}, facts={"moment": arguments.moment})


if __name__ == "__main__":
    main(Arguments, score_intraday)
