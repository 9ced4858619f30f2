"""Replicas on a folder and on S3; a stage lasts for all tests that want one of its kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.replicas.calls import Calls
from tests.replicas.s3_server import CREDENTIALS
from tests.replicas.stage import Lakes, Stage

QUICK = {"SERVING_POLL_SECONDS": "0.5"}
STAGES = {
    "3 on a folder": (Lakes.FOLDER, 3, QUICK),
    "3 on S3": (Lakes.S3, 3, QUICK),
    "10 on a folder, as they come": (Lakes.FOLDER, 10, {}),
    "10 on S3, as they come": (Lakes.S3, 10, {}),
}


@pytest.fixture(scope="session", params=["3 on a folder", "3 on S3"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The stage that a test names."""
    lakes, number, settings = STAGES[request.param]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        stage = Stage.build(tmp_path_factory.mktemp("replicas"), lakes, number, **settings)
        yield stage
        stage.close()


@pytest.fixture
def stage(built: Stage) -> Stage:
    """A stage on which nothing is served yet."""
    built.reset()
    return built


@pytest.fixture
def first(stage: Stage) -> str:
    """A version that every replica serves."""
    return stage.served()


@pytest.fixture
def calls(stage: Stage, first: str) -> Iterator[Calls]:
    """A steady load, answered by the first version at the beginning."""
    with stage.calls() as load:
        yield load
