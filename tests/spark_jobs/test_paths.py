"""A lake may lie in a folder of any name: nothing in it is a pattern, an escape or a query."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from include.settings import Settings
from include.step import Context
from include.steps.extract import ExtractArguments, extract
from include.storage.lake import Dataset, Lake, Layer
from include.use_case import UseCase
from spark_jobs.features import FeaturesArguments, features
from tests.use_cases.ice_cream.spec import SPEC

pytestmark = pytest.mark.spark

DAY = date(2026, 5, 3)
NAMES = st.text("ab[]{}()*?!^$,;:%#&+=~@'\"\\ -_é日", min_size=1, max_size=8).filter(lambda name: name.strip(" ."))


@settings(max_examples=12, deadline=None)
@given(NAMES)
@example("[team]")
@example("{a,b}")
@example("?:")
@example(":?")
@example("*")
@example("a?b")
@example("50% of #1 + 2%20")
@example("back\\slash\\[x]")
@example("Größe 日本")
def test_features_are_the_same_in_a_folder_of_any_name(spark: SparkSession, expected: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="lake-") as folder:
        assert made(Path(folder) / name / "lake") == expected
        assert [path.name for path in Path(folder).iterdir()] == [name], "a stray folder"


def test_a_plain_locale_finds_a_folder_with_other_letters(tmp_path: Path) -> None:
    root = tmp_path / "Größe 日本"
    extract(context_of(root), ExtractArguments(use_case=SPEC.package, date=DAY))
    command = [sys.executable, "-m", "spark_jobs.features", f"--use-case={SPEC.package}", f"--date={DAY}"]

    environment = os.environ | {"LC_ALL": "C", "NIGHTSHIFT_LAKE": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stdout
    assert context_of(root).lake.require(Dataset(Layer.FEATURES, "morning").on(DAY)).rows > 0


@pytest.fixture(scope="module")
def expected(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What is made in a folder of a plain name."""
    return made(tmp_path_factory.mktemp("plain"))


def made(root: Path) -> bytes:
    """The manifest of a day's features, computed on a lake in the folder."""
    context = context_of(root)
    extract(context, ExtractArguments(use_case=SPEC.package, date=DAY))
    features(context, FeaturesArguments(use_case=SPEC.package, date=DAY))
    manifest = context.lake.require(Dataset(Layer.FEATURES, "morning").on(DAY + timedelta(days=1)))
    assert manifest.rows == context.lake.require(Dataset(Layer.RAW, "plans").on(DAY + timedelta(days=1))).rows > 0
    return manifest.to_json()


def context_of(root: Path) -> Context:
    spec = replace(SPEC, history_days=0)
    return Context(Settings(lake=str(root)), UseCase(spec), Lake.open(Settings(lake=str(root)), spec.name))
