from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from formats.answers.binary import BinaryKind
from include.predictions.samples import SCHEMA, days, samples
from include.settings import Settings
from include.storage.lake import Lake
from include.storage.store import open_store
from serving.telemetry.sampling import Sampler

TODAY = datetime.now(UTC).date()


def lake(root: Path) -> Lake:
    return Lake(open_store(Settings(lake=str(root)).lake), "flight_delay")


def keep(root: Path, version: str, body: bytes, *probabilities: float, use_case: str = "flight_delay") -> None:
    """One request as serving samples it."""
    sampler = Sampler(open_store(str(root)), 1.0, 1e9)
    sampler.start()
    sampler.offer(use_case, version, f"request-of-{version}", body, np.array(probabilities), kind=BinaryKind())
    sampler.stop()


def test_what_serving_sampled_is_read_back(tmp_path: Path) -> None:
    keep(tmp_path, "7", b'{"rows":[{"distance":1,"carrier":"B6"},{"distance":null,"carrier":null}]}', 0.25, 0.75)

    found = samples(lake(tmp_path), TODAY)

    assert found.schema.names[: len(SCHEMA)] == SCHEMA.names
    assert found["version"].to_pylist() == ["7", "7"]
    assert found["request_id"].to_pylist() == ["request-of-7"] * 2
    assert found["row"].to_pylist() == [0, 1]
    assert found["probability"].to_pylist() == [0.25, 0.75]
    assert found["inputs"].to_pylist() == [{"distance": 1, "carrier": "B6"}, {"distance": None, "carrier": None}]
    assert all(at.date() == TODAY for at in found["at"].to_pylist())


def test_versions_that_take_different_inputs_are_read_together_in_order_of_time(tmp_path: Path) -> None:
    keep(tmp_path, "7", b'{"rows":[{"distance":1}]}', 0.1)
    keep(tmp_path, "8", b'{"rows":[{"distance":2.5,"carrier":"B6"}]}', 0.2)

    found = samples(lake(tmp_path), TODAY)

    assert found["version"].to_pylist() == ["7", "8"]
    assert found["inputs"].to_pylist() == [{"distance": 1, "carrier": None}, {"distance": 2.5, "carrier": "B6"}]
    assert found["at"].to_pylist() == sorted(found["at"].to_pylist())


def test_a_truth_value_is_a_number_as_it_was_to_the_model(tmp_path: Path) -> None:
    keep(tmp_path, "7", b'{"rows":[{"holiday":true},{"holiday":0.5}]}', 0.1, 0.2)

    assert samples(lake(tmp_path), TODAY)["inputs"].to_pylist() == [{"holiday": 1}, {"holiday": 0.5}]


def test_an_input_that_nobody_ever_knew_does_not_part_the_files(tmp_path: Path) -> None:
    keep(tmp_path, "7", b'{"rows":[{"carrier":null}]}', 0.1)
    keep(tmp_path, "7", b'{"rows":[{"carrier":"B6"}]}', 0.2)

    assert [row["carrier"] for row in samples(lake(tmp_path), TODAY)["inputs"].to_pylist()] == [None, "B6"]


def test_other_use_cases_and_other_days_are_not_mixed_in(tmp_path: Path) -> None:
    keep(tmp_path, "7", b'{"rows":[{"distance":1}]}', 0.1)
    keep(tmp_path, "1", b'{"rows":[{"sugar":1}]}', 0.9, use_case="ice_cream")

    assert samples(lake(tmp_path), TODAY).num_rows == 1
    assert days(lake(tmp_path)) == [TODAY]
    assert samples(lake(tmp_path), date(2013, 10, 1)) == SCHEMA.empty_table()
