"""score_intraday: one prediction for each example that is due within the next hours."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from formats.manifest import Manifest
from include.errors import SkippedError
from include.model_registry.versions import Registry
from include.modelling.intraday import IntradayArguments
from include.predictions.lookup import publish_lookup
from include.step import Context, Result, main
from include.steps.score import AS_OF, FILE, predicted
from include.storage.lake import Layer

log = logging.getLogger("nightshift")


class ScoreIntradayArguments(IntradayArguments):
    """Command-line arguments of score_intraday."""


def score_intraday(context: Context, arguments: ScoreIntradayArguments) -> Result:
    """Publish a prediction for each row of the moment's features, by the newest version that had not seen their day.

    A published prediction stays unless forced, or made from other features. Their lookup comes after them. Raises
    `SkippedError` while no such version is approved, `DataError` when the features are not there.
    """
    spec, lake = context.use_case.spec, context.lake
    arguments.checked_horizon(spec, datetime.now(UTC))
    made_from, target = arguments.partition(Layer.FEATURES), arguments.partition(Layer.PREDICTIONS)
    published = lake.manifest(target)
    if arguments.force or published is None or _outdated(context, published, arguments):
        version = Registry.open(context.settings, context.use_case.name).newest_before(arguments.date)
        if version is None:
            raise SkippedError(f"no approved version has seen only days before {arguments.date}; train one first")
        manifest = lake.require(made_from)
        features = lake.read_as(manifest, made_from)
        rows = features.select(list(dict.fromkeys([spec.key, *spec.carried, AS_OF])))
        predictions = predicted(rows, features, lake, version)
        inputs = {str(made_from): manifest.sha256, f"models/{version.sha256}.onnx": version.sha256}
        force = arguments.force or published is not None
        published = lake.publish(target, {FILE: predictions}, inputs=inputs, force=force)
        log.info("score_intraday: %d rows by version %s", features.num_rows, version.version)
    publish_lookup(context, target, made_from, force=arguments.force)
    name = str(arguments.dataset(Layer.PREDICTIONS))
    return Result(rows={name: published.rows}, uris={name: lake.uri(target)}, facts={"moment": arguments.moment})


def _outdated(context: Context, published: Manifest, arguments: ScoreIntradayArguments) -> bool:
    """Whether the features differ from those that the predictions note; what is not noted or gone is ignored."""
    made_from = arguments.partition(Layer.FEATURES)
    features, noted = context.lake.manifest(made_from), published.inputs.get(str(made_from))
    if not features or noted in (None, features.sha256):
        return False
    log.info("score_intraday: %s is out of date (other features) and made again", published.partition)
    return True


if __name__ == "__main__":
    main(ScoreIntradayArguments, score_intraday)
