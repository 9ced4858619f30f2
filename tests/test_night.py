"""Whole nights through Airflow, on real data and real parts: what `make run`, `rollback` and `down` do for a person."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pyarrow.compute as pc
import pytest

from formats.manifest import MANIFEST
from include.step_specs import NIGHTLY
from include.storage.delta_log import DeltaLog
from include.storage.lake import TABLES, Layer, Partition
from include.use_cases.flight_delay.spec import SPEC
from tests.checkout import Checkout
from tests.empty_environment import TOLERANCE, alone, without_ours
from tests.waiting import PATIENCE

FIRST, SECOND, OLDER = "2013-03-01", "2013-03-02", "2013-02-27"
COLUMNS = (SPEC.key, *SPEC.carried, "as_of", "probability", "model_version")

pytestmark = [pytest.mark.stack, pytest.mark.airflow, pytest.mark.spark]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout in a path with spaces, after its first night."""
    made = Checkout.make(tmp_path_factory.mktemp("night") / "my night shift", SPEC.package)
    try:
        made.night(FIRST)
        yield made
    finally:
        made.command("down")


def served(checkout: Checkout) -> dict[str, str]:
    """What the service says of its model."""
    port = checkout.environment["NIGHTSHIFT_SERVING_PORT"]
    with urlopen(f"http://127.0.0.1:{port}/v1/model", timeout=PATIENCE) as answer:
        body: dict[str, str] = json.load(answer)
        return body


@pytest.mark.parametrize(("horizon", "day"), [("nightly", "2013-03-02"), ("two_hours", "2013-03-01")])
def test_every_scheduled_flight_has_exactly_one_prediction(checkout: Checkout, horizon: str, day: str) -> None:
    scheduled = checkout.table(Layer.RAW, "schedule", day)
    predictions = checkout.table(Layer.PREDICTIONS, horizon, day)
    assert tuple(predictions.column_names) == COLUMNS
    assert sorted(predictions["flight_id"].to_pylist()) == sorted(scheduled["flight_id"].to_pylist())
    assert pc.all(pc.and_(pc.greater(predictions["probability"], 0), pc.less(predictions["probability"], 1))).as_py()


def test_two_hours_ahead_is_answered_by_a_version_that_had_not_seen_the_day(checkout: Checkout) -> None:
    nightly = set(checkout.table(Layer.PREDICTIONS, "nightly", "2013-03-02")["model_version"].to_pylist())
    two_hours = set(checkout.table(Layer.PREDICTIONS, "two_hours", "2013-03-01")["model_version"].to_pylist())
    assert len(nightly) == len(two_hours) == 1
    assert nightly != two_hours, "the version trained through 1 March scored 1 March"


def test_a_night_writes_what_its_steps_say_and_nothing_else(checkout: Checkout) -> None:
    lake = checkout.lake
    folders = {"/".join(name.split("/")[1:3]) for name in lake.store.names(lake.prefix)}
    said = {name for step in NIGHTLY for data in step.writes for name in data.names(SPEC)}
    layers = ("raw", "features", "candidates", "decisions", "predictions")
    assert {name for name in folders if name.startswith(layers)} == {name for name in said if name.startswith(layers)}
    assert {name.split("/")[0] for name in folders} - {"runs"} <= {name.split("/")[0] for name in said}


def test_the_champion_that_mlflow_loads_gives_every_published_row(checkout: Checkout, tmp_path: Path) -> None:
    [address] = (checkout.root / ".nightshift" / "secrets").rglob("tracking-url")
    features = checkout.table(Layer.FEATURES, "nightly", SECOND)
    published = checkout.table(Layer.PREDICTIONS, "nightly", SECOND)

    environment = without_ours(address.read_text(encoding="utf-8"))
    answers, ours = alone(Path(sys.executable), environment, SPEC.name, features, tmp_path)

    assert ours == []
    found = dict(zip(features["flight_id"].to_pylist(), answers.tolist(), strict=True))
    expected = dict(zip(published["flight_id"].to_pylist(), published["probability"].to_pylist(), strict=True))
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_every_table_is_to_other_engines_what_its_manifests_say(checkout: Checkout) -> None:
    lake = checkout.lake
    names = [name.removeprefix(f"{lake.prefix}/") for name in lake.store.names(lake.prefix)]
    published = {partition_of(name) for name in names if name.endswith(f"/{MANIFEST}")}
    datasets = {one.dataset for one in published if one.dataset.layer in TABLES}
    assert {str(dataset) for dataset in datasets} >= {"raw/flights", "features/nightly", "predictions/two_hours"}
    for dataset in datasets:
        table = DeltaLog(lake, str(dataset)).open()
        assert table is not None, dataset
        by_day = Counter(table.to_pyarrow_table(columns=["data_day"])["data_day"].to_pylist())
        manifests = lake.manifests(dataset, lake.days(dataset))
        assert by_day == Counter({day: manifest.rows for day, manifest in manifests.items()}), dataset


def partition_of(manifest: str) -> Partition:
    return Partition.named(manifest.removesuffix(f"/{MANIFEST}"))


def test_a_question_in_sql_is_answered_from_the_running_stacks_lake(checkout: Checkout) -> None:
    asked = "SELECT count(*) AS flights FROM predictions.nightly WHERE data_day = DATE '2013-03-02'"
    done = checkout.command("query", asked)
    assert done.returncode == 0, done.stdout
    assert str(checkout.table(Layer.PREDICTIONS, "nightly", "2013-03-02").num_rows) in done.stdout


def test_the_version_that_won_is_served(checkout: Checkout) -> None:
    assert (
        served(checkout)["version"]
        in checkout.table(Layer.PREDICTIONS, "nightly", "2013-03-02")["model_version"].to_pylist()
    )


def test_the_same_date_again_changes_no_byte_of_what_is_published(checkout: Checkout) -> None:
    before = checkout.published()
    said = checkout.night(FIRST)
    assert checkout.published() == before
    assert "Candidates" in said
    assert "probability" in said


def test_a_second_night_that_was_killed_an_old_one_and_a_rollback(checkout: Checkout) -> None:
    # Given a first night, and a second one that is killed while Spark works
    first, before = served(checkout), checkout.published()
    with checkout.started("run", "--date", SECOND) as run:
        assert run.stdout is not None
        assert any("features: running" in line for line in run.stdout)
        run.kill()
    assert states(checkout)["running"] == 1
    # When the same day is run again
    checkout.night(SECOND)
    # Then it is done, and no run is taken for one that is still at work
    after = states(checkout)
    assert after["running"] == 0
    assert after["failed"] == 1
    # And a newer version is served, and nothing published before has changed
    second = served(checkout)
    assert int(second["version"]) > int(first["version"])
    assert second["trained_through"] == SECOND
    assert before.items() <= checkout.published().items()
    # And when an old day is run, then it is scored, and what is served stays
    checkout.night(OLDER)
    assert served(checkout) == second
    assert checkout.table(Layer.PREDICTIONS, "two_hours", OLDER).num_rows > 0
    # And when the model is rolled back, then the first one is served again, and it is named
    said = checkout.command("rollback")
    assert said.returncode == 0, said.stdout
    assert served(checkout)["version"] == first["version"]
    assert f"version {first['version']}" in said.stdout


def states(checkout: Checkout) -> Counter[str]:
    """How many of the runs that Airflow knows are in each state."""
    listed = checkout.command("airflow", "dags", "list-runs", "flight_delay_nightly_training", "--output", "json")
    return Counter(run["state"] for run in json.loads(listed.stdout[listed.stdout.index("[{") :]))


def test_a_day_outside_the_data_is_refused_before_any_work(checkout: Checkout) -> None:
    done = checkout.command("run", "--date", "2014-05-01")
    assert done.returncode == 78
    assert "DATE=2014-05-01: outside the data" in done.stdout
    assert "extract" not in done.stdout
