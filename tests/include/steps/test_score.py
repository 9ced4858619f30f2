from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from formats.portable_model import PortableModel
from include.errors import DataError, LakeError
from include.steps.score import ScoreArguments, score
from include.storage.lake import DECISIONS, Dataset, Layer
from tests.factory import DAY, ROWS, USE_CASE, Factory, features, flight_id, schedule

NIGHTLY = Dataset(Layer.PREDICTIONS, "nightly")
LOOKUPS = Dataset(Layer.LOOKUPS, "nightly")
TWO_HOURS = Dataset(Layer.PREDICTIONS, "two_hours")
BEFORE = DAY - timedelta(days=1)
TOMORROW = DAY + timedelta(days=1)
pytestmark = pytest.mark.stack


def run(factory: Factory, day: date = DAY, *, force: bool = False) -> dict[str, str]:
    """Score a day; which version scored which horizon."""
    result = score(factory.context, ScoreArguments(use_case=USE_CASE, date=day, force=force))
    return dict(result.facts["versions"])


def test_each_horizon_is_scored_by_the_newest_version_that_had_not_seen_its_day(factory: Factory) -> None:
    factory.day()
    factory.version(BEFORE - timedelta(days=5))
    yesterdays = factory.version(BEFORE)
    factory.version(BEFORE, approved=False, champion=False)
    tonights = factory.version(DAY)
    factory.version(TOMORROW)

    assert run(factory) == {"nightly": tonights.version, "two_hours": yesterdays.version}


def test_there_is_one_row_for_each_scheduled_flight_in_the_schedules_order(factory: Factory) -> None:
    factory.day()
    version = factory.version(DAY)

    result = score(factory.context, ScoreArguments(use_case=USE_CASE, date=DAY))

    predictions = factory.lake.read(NIGHTLY.on(TOMORROW))
    assert result.rows == {"predictions/nightly": ROWS}
    assert predictions["flight_id"].to_pylist() == [flight_id(TOMORROW, number) for number in range(ROWS)]
    assert predictions.select(["carrier", "tailnum", "scheduled_departure"]).equals(
        schedule(TOMORROW).select(["carrier", "tailnum", "scheduled_departure"])
    )
    assert set(predictions["model_version"].to_pylist()) == {version.version}


def test_the_nights_page_shows_rows_version_and_answers_and_is_made_alike_again(
    factory: Factory,
) -> None:
    factory.day()
    version = factory.version(DAY)
    place = f"data_docs/data_day={DAY}/predictions.html"

    docs = score(factory.context, ScoreArguments(use_case=USE_CASE, date=DAY)).uris["data_docs"]

    page = factory.lake.get(place)
    probabilities = factory.lake.read(NIGHTLY.on(TOMORROW))["probability"].to_pylist()
    lowest = sum(probability < 0.1 for probability in probabilities)
    assert docs.endswith(place)
    assert f"<td>nightly<td>{TOMORROW}<td>{ROWS}<td>{version.version}</tr>" in page.decode()
    assert f"<td>0 to 0.1<td>{lowest}<td>{lowest / ROWS:.1%}" in page.decode()
    assert "two_hours: no approved version has seen only earlier days" in page.decode()

    run(factory)

    assert factory.lake.get(place) == page


def test_columns_types_and_order_are_as_promised(factory: Factory) -> None:
    factory.day()
    factory.version(DAY)

    run(factory)

    utc = pa.timestamp("us", tz="UTC")
    schema = factory.lake.read(NIGHTLY.on(TOMORROW)).schema
    assert [(field.name, field.type) for field in schema] == [
        ("flight_id", pa.string()),
        ("carrier", pa.string()),
        ("flight", pa.int64()),
        ("tailnum", pa.string()),
        ("origin", pa.string()),
        ("dest", pa.string()),
        ("scheduled_departure", utc),
        ("as_of", utc),
        ("probability", pa.float64()),
        ("model_version", pa.string()),
    ]


def test_probabilities_are_the_model_files_for_each_flights_own_features(factory: Factory) -> None:
    factory.day()
    version = factory.version(DAY)

    run(factory)

    model = PortableModel.load(factory.lake.get(f"models/{version.sha256}.onnx"))
    rows = features(TOMORROW).to_pylist()
    expected = dict(zip((row["flight_id"] for row in rows), model.rows(rows).tolist(), strict=True))
    predictions = factory.lake.read(NIGHTLY.on(TOMORROW)).to_pylist()
    assert {row["flight_id"]: row["probability"] for row in predictions} == pytest.approx(expected, abs=1e-12)
    assert len({row["probability"] for row in predictions}) > ROWS / 2
    assert {row["as_of"] for row in predictions} == {datetime(2013, 10, 2, 5, tzinfo=UTC)}


def test_what_serving_looks_up_is_published_beside_them(factory: Factory) -> None:
    factory.day()
    version = factory.version(DAY)

    run(factory)

    body = json.loads(factory.lake.read_file(LOOKUPS.on(TOMORROW), "lookup.json"))
    table = factory.lake.read(NIGHTLY.on(TOMORROW))
    assert [file.rows for file in factory.lake.require(NIGHTLY.on(TOMORROW)).files] == [ROWS]
    assert body["predictions"]["flight_id"] == table["flight_id"].to_pylist()
    assert body["predictions"]["probability"] == table["probability"].to_pylist()
    assert set(body["predictions"]["model_version"]) == {version.version}
    assert set(body["predictions"]["sensor_at"]) == {"2013-10-02T04:51:00Z"}
    assert body["tables"]["locations"]["code"] == ["BOS", "EWR", "JFK", "LGA"]
    assert body["tables"]["readings"]["location"] == ["EWR", "JFK", "LGA"]
    assert body["tables"]["readings"]["temperature"] == [60.0, 61.0, 62.0]
    assert body["tables"]["readings"]["wind_speed"] == [10.0, None, 10.0]


def test_a_lookup_follows_its_code_and_the_predictions_stay(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    factory.day()
    factory.version(DAY)
    run(factory)
    before = factory.lake.require(NIGHTLY.on(TOMORROW)), factory.lake.require(LOOKUPS.on(TOMORROW))

    # When the lookup's code is another, and a newer version is there
    factory.version(DAY)
    monkeypatch.setattr("include.identity.lookup", lambda spec: {"lookup": "another"})
    run(factory)

    # Then the lookup is made again from the same predictions
    after = factory.lake.require(NIGHTLY.on(TOMORROW)), factory.lake.require(LOOKUPS.on(TOMORROW))
    assert after[0] == before[0]
    assert after[1].files == before[1].files
    assert after[1].inputs["lookup"] == "another"


def test_a_lookup_that_a_killed_step_did_not_publish_is_published_by_the_next(factory: Factory) -> None:
    factory.day()
    factory.version(DAY)
    run(factory)
    before = factory.lake.require(LOOKUPS.on(TOMORROW))
    factory.lake.store.clear(f"flight_delay/{LOOKUPS.on(TOMORROW)}")

    run(factory)

    assert factory.lake.require(LOOKUPS.on(TOMORROW)) == before


def test_published_predictions_stay_until_forced(factory: Factory) -> None:
    # Given predictions by a version
    factory.day()
    first = factory.version(DAY)
    run(factory)
    before = factory.lake.manifest(NIGHTLY.on(TOMORROW))

    # When the day is scored again, with a newer version there
    second = factory.version(DAY)
    again = run(factory)
    unchanged = factory.lake.manifest(NIGHTLY.on(TOMORROW)) == before
    forced = run(factory, force=True)

    # Then only force changes them
    assert again["nightly"] == first.version
    assert unchanged
    assert forced["nightly"] == second.version
    assert factory.lake.manifest(NIGHTLY.on(TOMORROW)) != before


def test_predictions_follow_the_features_they_are_made_from(factory: Factory) -> None:
    factory.day()
    factory.version(DAY)
    run(factory)
    before = factory.lake.require(NIGHTLY.on(TOMORROW))

    # When tomorrow's features are computed again, and are others
    table = features(TOMORROW).set_column(3, "distance", pa.array([5.0] * ROWS))
    partition = Dataset(Layer.FEATURES, "nightly").on(TOMORROW)
    factory.lake.publish(partition, {"rows.parquet": table}, force=True)
    run(factory)

    # Then the predictions are too, and name them
    after = factory.lake.require(NIGHTLY.on(TOMORROW))
    assert after.sha256 != before.sha256
    assert after.inputs[str(partition)] == factory.lake.require(partition).sha256


def test_predictions_follow_a_night_that_is_decided_again(factory: Factory) -> None:
    # Given predictions by the version of a decision
    factory.day()
    factory.version(DAY)
    decided(factory, b"one")
    run(factory)

    # When the night is decided again, and its model is another
    second = factory.version(DAY)
    decided(factory, b"two")

    # Then that model's predictions are published
    assert run(factory)["nightly"] == second.version


def test_predictions_of_an_older_release_that_notes_no_decision_stay(factory: Factory) -> None:
    factory.day()
    first = factory.version(DAY)
    run(factory)
    before = factory.lake.require(NIGHTLY.on(TOMORROW))
    older = replace(
        before, inputs={name: hashed for name, hashed in before.inputs.items() if name != str(DECISIONS.on(DAY))}
    )
    factory.lake.store.replace(f"flight_delay/{NIGHTLY.on(TOMORROW)}/_manifest.json", older.to_json())
    factory.version(DAY)
    decided(factory, b"one")

    assert run(factory)["nightly"] == first.version
    assert factory.lake.require(NIGHTLY.on(TOMORROW)) == older


def decided(factory: Factory, content: bytes) -> None:
    factory.lake.publish(DECISIONS.on(DAY), {"decision.json": content}, force=True)


def test_scoring_a_day_in_any_order_gives_the_same_bytes(factory: Factory) -> None:
    factory.day()
    factory.version(DAY)
    run(factory)
    before = factory.lake.require(NIGHTLY.on(TOMORROW))

    factory.version(TOMORROW)
    run(factory, force=True)

    assert factory.lake.require(NIGHTLY.on(TOMORROW)) == before


def test_a_horizon_that_no_version_may_predict_is_said(factory: Factory) -> None:
    factory.day()
    factory.version(DAY)

    result = score(factory.context, ScoreArguments(use_case=USE_CASE, date=DAY))

    assert result.facts["no_version_for"] == ["two_hours"]
    assert factory.lake.manifest(TWO_HOURS.on(DAY)) is None


def test_a_scheduled_flight_without_features_stops_it(factory: Factory) -> None:
    factory.day(without_features=3)
    factory.version(DAY)

    with pytest.raises(DataError, match=r"117 rows for 120 scheduled examples \(3 without features, such as 2013-10-0"):
        run(factory)

    assert factory.lake.manifest(NIGHTLY.on(TOMORROW)) is None


def test_features_of_flights_that_nobody_scheduled_stop_it(factory: Factory) -> None:
    factory.day()
    factory.lake.publish(
        Dataset(Layer.FEATURES, "nightly").on(TOMORROW), {"rows.parquet": features(TOMORROW, ROWS + 2)}, force=True
    )
    factory.version(DAY)

    with pytest.raises(DataError, match=r"122 rows for 120 scheduled examples \(0 without features\)"):
        run(factory)


def test_a_model_file_that_is_truncated_is_refused(factory: Factory) -> None:
    factory.day()
    version = factory.version(DAY)
    path = Path(factory.settings.lake) / "flight_delay" / "models" / f"{version.sha256}.onnx"
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(DataError, match=r"lake: model file models/.*: SHA-256 is .* it is truncated or another file"):
        run(factory)

    assert factory.lake.manifest(NIGHTLY.on(TOMORROW)) is None


def test_a_model_file_that_is_gone_is_named(factory: Factory) -> None:
    factory.day()
    version = factory.version(DAY)
    factory.lake.store.delete(f"flight_delay/models/{version.sha256}.onnx")

    with pytest.raises(LakeError, match=rf"models/{version.sha256}\.onnx is gone"):
        run(factory)
