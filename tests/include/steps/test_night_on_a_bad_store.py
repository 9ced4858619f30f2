"""A whole night on a bucket that refuses a third of all requests and loses a fourth of the answers.

No step is run a second time: the store's own tries cover it, and what is published is what a calm night publishes. The
bucket is a mock of S3 (moto) behind real HTTP; between it and us stands a proxy that does the harm.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from formats.manifest import MANIFEST
from include.settings import Settings
from include.step import Context, open_context
from include.steps import choose, extract, register, score, train, validate
from include.storage.lake import Layer
from spark_jobs import features
from tests.fault_proxy import FaultProxy, third_and_fourth

PACKAGE = "tests.use_cases.ice_cream"
DAY = date(2026, 6, 12)
PUBLISHED = tuple(layer for layer in Layer if layer is not Layer.QUALITY)

pytestmark = [pytest.mark.stack, pytest.mark.spark]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as in production, but shorter."""
    monkeypatch.setattr("stores.bucket.PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("stores.bucket.LONGEST_PAUSE_SECONDS", 0.02)


@pytest.fixture
def proxy(s3_endpoint: str, bucket: str) -> Iterator[FaultProxy]:
    made = FaultProxy(s3_endpoint, third_and_fourth)
    yield made
    made.close()


def context(folder: Path, registry: Path, lake: str, endpoint: str | None = None) -> Context:
    """Ice cream over a lake, with a registry of its own that is empty."""
    folder.mkdir()
    shutil.copy(registry, folder / "mlflow.db")
    settings = Settings(
        lake=lake,
        s3_endpoint=endpoint,
        artifacts=str(folder / "artifacts"),
        tracking_url=SecretStr(f"sqlite:///{folder / 'mlflow.db'}"),
    )
    return open_context(PACKAGE, settings)


def night(made: Context) -> None:
    """The steps in their order, each once."""
    told = {"use_case": PACKAGE, "date": DAY}
    extract.extract(made, extract.ExtractArguments.model_validate(told))
    features.features(made, features.FeaturesArguments.model_validate(told))
    validate.validate(made, validate.ValidateArguments.model_validate(told))
    for candidate in made.use_case.spec.candidates:
        train.train(made, train.TrainArguments.model_validate({**told, "candidate": candidate}))
    choose.choose(made, choose.ChooseArguments.model_validate(told))
    register.register(made, register.RegisterArguments.model_validate(told))
    score.score(made, score.ScoreArguments.model_validate(told))


def published(made: Context) -> dict[str, bytes]:
    """Every published file, quality reports left out: they tell when they were made."""
    lake = made.lake
    names = [name for layer in PUBLISHED for name in lake.store.names(f"{lake.prefix}/{layer}")]
    return {name: lake.store.read(name) for name in names}


def test_a_whole_night_on_a_bad_store_publishes_what_a_calm_one_does_without_a_second_try(
    tmp_path: Path, empty_registry: Path, spark: object, bucket: str, s3_endpoint: str, proxy: FaultProxy
) -> None:
    # Given a calm night on a folder, and a bucket behind such a proxy
    calm = context(tmp_path / "calm", empty_registry, str(tmp_path / "lake"))
    harmed = context(tmp_path / "harmed", empty_registry, f"s3://{bucket}/lake", proxy.url)
    night(calm)
    # When the same night runs there
    night(harmed)
    # Then each step went well at its first try, and every byte is the same
    direct = open_context(PACKAGE, Settings(lake=f"s3://{bucket}/lake", s3_endpoint=s3_endpoint))
    expected, found = published(calm), published(direct)
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []
    assert {name.split("/")[1] for name in found if name.endswith(MANIFEST)} >= {"raw", "features", "predictions"}
    assert proxy.faults() > len(proxy.seen) // 2, "there was little harm, so this asserts little"
