from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from formats.replica_report import ReplicaReport
from include.deployment.fleet import Fleet
from include.deployment.writer import ReleaseWriter
from include.errors import FaultError
from include.settings import Settings


def settled(writer: ReleaseWriter) -> None:
    """Wait for a replica that has not spoken yet."""
    fleet = Fleet(writer.log, seconds=9, quorum=1, pause=lambda: None, now=lambda: 0.0)
    writer.log.report(report())
    fleet.settle(1, lambda _: False)


def report() -> ReplicaReport:
    return ReplicaReport(replica="one", at=0.0, every=2.0, entry=0)


@pytest.mark.parametrize("act", [ReleaseWriter.tail, settled])
def test_a_damaged_entry_is_a_fault_that_names_it(tmp_path: Path, act: Callable[[ReleaseWriter], object]) -> None:
    # Given a log whose second entry is no JSON
    writer = ReleaseWriter.open(Settings(lake=str(tmp_path)), "ice_cream")
    log = tmp_path / "_serving" / "ice_cream" / "log"
    log.mkdir(parents=True)
    (log / "0000000002.json").write_text("{")

    # When a step reads it, in whatever way, Then that is one line, and the task is tried again
    with pytest.raises(FaultError) as damaged:
        act(writer)
    assert str(damaged.value) == (
        "releases of ice_cream: ice_cream/log/0000000002.json is damaged (JSON); correct or restore it"
    )
