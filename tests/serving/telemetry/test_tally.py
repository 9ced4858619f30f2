from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.tally import Family, MetricKind, ProcessMetrics, clear, retire

BOUNDS = (0.1, 1.0)
WORKER = """
import sys, time
from pathlib import Path
from serving.telemetry.tally import Family, MetricKind, ProcessMetrics
asked, busy = Family("asked", "Asked.", MetricKind.COUNTER, ("route",)), Family("busy", "Busy.", MetricKind.GAUGE)
asked["/a",][0] += 3
busy[()][0] += 2
ProcessMetrics((asked, busy), Path(sys.argv[1])).publish()
print("published", flush=True)
time.sleep(60)
"""


def samples(tally: ProcessMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus reads, by name and labels."""
    registry = CollectorRegistry()
    registry.register(tally)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def families() -> tuple[Family, Family]:
    return Family("asked", "Asked.", MetricKind.COUNTER, ("route",)), Family("busy", "Busy.", MetricKind.GAUGE)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that asked route /a three times, and is busy with two."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "published\n"
        yield process
        process.kill()


@given(st.lists(st.floats(0, 5), max_size=30))
def test_a_histogram_counts_as_prometheus_does(values: list[float]) -> None:
    took = Family("took", "Took.", MetricKind.HISTOGRAM, (), BOUNDS)
    for value in values:
        took.observe((), value)

    found = samples(ProcessMetrics((took,)))

    if values:
        for bound in BOUNDS:
            assert found["took_bucket", (("le", str(bound)),)] == sum(value <= bound for value in values)
        assert found["took_bucket", (("le", "+Inf"),)] == found["took_count", ()] == len(values)
        assert found["took_sum", ()] == pytest.approx(sum(values))


def test_processes_are_added_up(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    asked, busy = families()
    asked[("/a",)][0] += 1
    asked[("/b",)][0] += 5
    busy[()][0] += 1

    found = samples(ProcessMetrics((asked, busy), tmp_path))

    assert found["asked_total", (("route", "/a"),)] == 4
    assert found["asked_total", (("route", "/b"),)] == 5
    assert found["busy", ()] == 3


@pytest.mark.parametrize("parent_noticed", [False, True])
def test_what_a_killed_worker_counted_stays_but_it_is_not_busy_any_more(
    tmp_path: Path, worker: subprocess.Popen[str], parent_noticed: bool
) -> None:
    tally = ProcessMetrics(families(), tmp_path)
    assert samples(tally)["busy", ()] == 2

    worker.send_signal(signal.SIGKILL)
    worker.wait()
    if parent_noticed:
        retire(tmp_path, worker.pid)

    found = samples(tally)
    assert found["asked_total", (("route", "/a"),)] == 3
    assert found.get(("busy", ()), 0) == 0
    assert (tmp_path / f"{worker.pid}.counts").exists() != parent_noticed


def test_the_dead_leave_one_file_however_many_they_are(tmp_path: Path) -> None:
    asked, busy = families()
    for pid in range(4_000_001, 4_000_006):
        asked[("/a",)][0] += 1
        ProcessMetrics((asked, busy), tmp_path).publish()
        for path in tmp_path.glob("[0-9]*.counts"):
            path.rename(tmp_path / f"{pid}.counts")
        retire(tmp_path, pid)

    assert [path.name for path in tmp_path.iterdir()] == ["retired.counts"]
    assert samples(ProcessMetrics(families(), tmp_path))["asked_total", (("route", "/a"),)] == 1 + 2 + 3 + 4 + 5


def test_a_new_start_counts_from_nothing(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()

    clear(tmp_path)

    assert ("asked_total", (("route", "/a"),)) not in samples(ProcessMetrics(families(), tmp_path))


def test_a_damaged_file_or_a_folder_that_cannot_be_written_spoils_nothing(tmp_path: Path) -> None:
    (tmp_path / "4000001.counts").write_bytes(b"\xc1 no counts")
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    asked, busy = families()
    asked[("/a",)][0] += 1

    assert samples(ProcessMetrics((asked, busy), tmp_path))["asked_total", (("route", "/a"),)] == 1
    assert samples(ProcessMetrics((asked, busy), in_the_way / "folder"))["asked_total", (("route", "/a"),)] == 1
