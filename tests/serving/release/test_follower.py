"""A replica follows its log: what it serves, what it tries, what it says, and what it does when the store is away."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from formats.release import ReleaseEvent
from formats.replica_report import ReplicaReport
from formats.rollout_plan import Phase
from serving.errors import NotReadyError
from serving.release.follower import BUSY_SECONDS, EXPIRED_SECONDS, HEARTBEAT_SECONDS
from tests.memory import Memory
from tests.serving.release.rehearsal import ROWS, USE_CASE, Rehearsal, version
from tests.waiting import until


@pytest.fixture
def stage() -> Rehearsal:
    """A replica of an empty log."""
    return Rehearsal()


@pytest.fixture
def seven() -> Rehearsal:
    """A replica that serves version 7."""
    found = Rehearsal()
    found.shelf.put(7, 8, 9)
    found.serve(7)
    found.step()
    return found


# What is served


def test_before_any_release_nothing_is_served_and_that_is_said(stage: Rehearsal) -> None:
    stage.step()

    assert stage.serves is None
    with pytest.raises(NotReadyError, match="no model is served: nothing was deployed yet"):
        _ = stage.answering.served
    assert (stage.report.entry, stage.report.serving) == (0, "")


def test_the_first_version_serves_as_soon_as_it_is_loaded(stage: Rehearsal) -> None:
    stage.serve(7)
    stage.step()
    assert (stage.serves, stage.answering.why_not) == (None, "version 7 is being loaded")

    stage.shelf.put(7)
    stage.follower.advance()

    assert (stage.serves, stage.report.serving) == ("7", version(7).sha256)


def test_the_version_before_answers_until_the_next_one_is_loaded(seven: Rehearsal) -> None:
    del seven.shelf.ready[version(8).sha256]
    number = seven.serve(8)
    seven.step()
    assert (seven.serves, seven.report.entry, seven.report.serving) == ("7", number, version(7).sha256)

    seven.shelf.put(8)
    seven.follower.advance()

    assert seven.serves == "8"


def test_a_file_that_cannot_be_loaded_changes_nothing_and_is_reported(seven: Rehearsal) -> None:
    # Given a version whose file is no model
    del seven.shelf.ready[version(8).sha256]
    seven.shelf.errors[version(8).sha256] = "version 8 cannot be loaded: SHA-256 differs"
    seven.shelf.lost.add(version(8).sha256)

    # When it is prepared
    seven.append(ReleaseEvent.PREPARING, "8", prepare=version(8))
    seven.step()

    # Then it is said that no further attempt helps, and the version before serves
    assert (seven.serves, seven.report.prepared) == ("7", "")
    assert (seven.report.error, seven.report.refused) == ("version 8 cannot be loaded: SHA-256 differs", True)


def test_a_version_is_prepared_before_it_serves(seven: Rehearsal) -> None:
    seven.append(ReleaseEvent.PREPARING, "8", prepare=version(8))
    seven.step()

    assert (seven.serves, seven.report.prepared) == ("7", version(8).sha256)
    assert seven.shelf.wanted == {version(7).sha256, version(8).sha256}


def test_a_version_taken_back_by_a_person_does_not_answer_while_the_one_before_loads(seven: Rehearsal) -> None:
    seven.serve(8)
    seven.step()
    seven.shelf.ready.clear()

    number, release = seven.log.tail()
    assert release is not None
    back = release.served(version(7), ended=ReleaseEvent.ROLLED_BACK, why="it is wrong")
    assert seven.log.append(number + 1, back)
    seven.step()

    assert (seven.serves, seven.answering.why_not) == (None, "version 7 is being loaded")


def test_after_a_withdrawal_nothing_serves(seven: Rehearsal) -> None:
    seven.append(ReleaseEvent.WITHDRAWN, serving=None)
    seven.step()

    assert seven.serves is None


def test_a_replica_that_was_away_for_many_entries_serves_the_newest(seven: Rehearsal) -> None:
    for number in (8, 9, 8, 9):
        seven.serve(number)

    seven.step()

    assert (seven.serves, seven.report.entry) == ("9", 5)


# A trial


def test_a_trial_begins_with_the_second_sight_of_its_lease(seven: Rehearsal) -> None:
    # Given a canary whose conductor died before
    seven.beat()
    seven.try_out(8)
    seven.step()
    seven.step()
    assert (seven.tries, seven.report.on_trial) == (None, "")

    # When a lease is renewed, Then it takes part
    seven.beat()
    seven.step()

    assert (seven.tries, seven.report.on_trial) == ("8", version(8).sha256)
    assert seven.answering.pick(b"anybody").entry.version == "8"


def test_a_trial_without_its_conductor_ends_by_itself(seven: Rehearsal) -> None:
    under_way(seven)
    pick = seven.answering.pick

    seven.seconds += 16
    assert pick(b"anybody").entry.version == "7"  # even before the next look

    seven.step()
    assert (seven.tries, seven.serves, seven.report.on_trial) == (None, "7", "")


def test_a_replica_cut_off_in_a_trial_leaves_it_in_time_and_joins_again(seven: Rehearsal) -> None:
    under_way(seven)
    seven.memory.away = True
    seven.step(16)
    assert seven.tries is None

    seven.memory.away = False
    seven.beat()
    seven.step()

    assert seven.tries == "8"


def test_a_replica_that_joins_in_mid_canary_takes_part(seven: Rehearsal) -> None:
    under_way(seven)
    joining = Rehearsal(memory=seven.memory)
    joining.shelf.put(7, 8)
    joining.step()
    assert (joining.serves, joining.tries) == ("7", None)

    seven.beat()
    joining.step()

    assert (joining.serves, joining.tries) == ("7", "8")


def test_a_replica_without_the_proven_version_tries_nothing(stage: Rehearsal) -> None:
    stage.shelf.put(8)
    stage.serve(7)
    stage.try_out(8)
    stage.step()
    stage.beat()
    stage.step()

    assert (stage.serves, stage.tries) == (None, None)


def test_counts_of_a_phase_are_reported_and_begin_again_with_the_next(seven: Rehearsal) -> None:
    under_way(seven, Phase.SHADOW, share=0)
    seven.answering.answer(b"a", lambda model: model.rows(ROWS[:3]))
    seven.step()
    assert (seven.report.phase, seven.report.tally.answered.proven.requests) == ("t/shadow", 1)

    seven.try_out(8, Phase.CANARY)
    seven.beat()
    seven.step()

    assert (seven.report.phase, seven.report.tally.answered.proven.requests) == ("t/canary", 0)


def test_what_a_replica_saw_stays_for_the_judgement_when_it_ends(seven: Rehearsal) -> None:
    under_way(seven)
    seven.answering.answer(b"a", lambda model: model.rows(ROWS[:3]))
    seven.follower.start()
    seven.follower.stop()

    assert (seven.report.left, seven.report.tally.answered.trial.requests) == (True, 1)


def test_a_replica_that_ends_without_a_trial_is_forgotten(seven: Rehearsal) -> None:
    seven.follower.start()
    seven.follower.stop()

    assert list(seven.log.reports()) == []


def test_it_looks_more_often_while_a_release_is_under_way(seven: Rehearsal) -> None:
    assert seven.step() == 2.0
    seven.append(ReleaseEvent.PREPARING, "8", prepare=version(8))
    assert seven.step() == BUSY_SECONDS


# The store


def test_while_the_store_is_away_what_is_served_is_served_on(
    seven: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    seven.memory.away = True
    for _ in range(3):
        seven.step(10)

    assert (seven.serves, seven.follower.age) == ("7", 30.0)
    said = [record.getMessage() for record in caplog.records if "version 7 is served on" in record.getMessage()]
    assert said == ["the store is away; version 7 is served on"]

    seven.memory.away = False
    seven.serve(8)
    seven.step()
    assert (seven.serves, seven.follower.age) == ("8", 0.0)


def test_a_start_while_the_store_is_away_serves_what_was_kept(seven: Rehearsal, tmp_path: Path) -> None:
    # Given a replica that has served version 7, and keeps it
    first = Rehearsal(tmp_path, seven.memory)
    first.step()

    # When another one starts on its disk while the store is away
    second = Rehearsal(tmp_path, seven.memory)
    second.shelf.put(7, 8)
    seven.memory.away = True
    second.step()

    # Then it serves that, and follows once the store is back
    assert (second.serves, second.follower.number) == ("7", 1)
    seven.memory.away = False
    seven.serve(8)
    second.step()
    assert (second.serves, second.report.entry) == ("8", 2)


def test_a_start_while_the_store_is_away_and_nothing_is_kept_says_so(stage: Rehearsal) -> None:
    stage.memory.away = True
    stage.step()

    with pytest.raises(NotReadyError, match="no model is served: the releases cannot be read now"):
        _ = stage.answering.served


def test_a_disk_that_served_another_log_does_not_hide_this_ones_entries(tmp_path: Path) -> None:
    # Given a disk that knows entry 5 of a folder that was emptied since
    first = Rehearsal(tmp_path)
    for number in (1, 2, 3, 4, 5):
        first.serve(number)
    first.step()
    other = Rehearsal(tmp_path, Memory())
    other.shelf.put(7)
    other.serve(7)

    # Then the new folder's only entry counts
    other.step()
    assert (other.serves, other.follower.number) == ("7", 1)


def test_a_log_that_is_empty_now_leaves_what_was_kept_in_service(
    seven: Rehearsal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Rehearsal(tmp_path, seven.memory).step()
    wiped = Rehearsal(tmp_path, Memory())
    wiped.shelf.put(7)

    wiped.step()

    assert wiped.serves == "7"
    assert "the log is empty; what was kept is served" in caplog.text


def test_a_damaged_entry_changes_nothing_until_it_is_restored(
    seven: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    seven.serve(8)
    name = f"flight_delay/log/{2:010d}.json"
    whole, seven.memory.blobs[name] = seven.memory.blobs[name], b"{"
    seven.step()
    assert seven.serves == "7"
    assert f"{name} is damaged (JSON); correct or restore it; version 7 is served on" in caplog.text

    seven.memory.blobs[name] = whole
    seven.step()
    assert seven.serves == "8"


def test_an_idle_replica_reads_one_object_a_look(seven: Rehearsal) -> None:
    seven.memory.calls.clear()
    seven.step()

    assert seven.memory.calls == [("read", f"flight_delay/log/{2:010d}.json")]


# What is said


def test_a_replica_says_that_it_lives_now_and_then(seven: Rehearsal) -> None:
    first = seven.report.at
    seven.step(HEARTBEAT_SECONDS - 2)
    assert seven.report.at == first

    seven.step(3)
    assert seven.report.at == seven.seconds + 1.7e9


def test_a_log_that_was_replaced_is_noticed_with_the_next_heartbeat(
    seven: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a folder whose log was restored from elsewhere, shorter than it was
    seven.serve(8)
    seven.step()
    for name in [name for name in seven.memory.blobs if "/log/" in name]:
        del seven.memory.blobs[name]
    seven.serve(9)

    # When the next heartbeat is due
    seven.step(HEARTBEAT_SECONDS + 1)
    seven.step()

    # Then it is followed from its own end
    assert "entry 2 is another one now; the log is read again" in caplog.text
    assert (seven.serves, seven.follower.number) == ("9", 1)


def test_reports_of_the_long_dead_are_removed(seven: Rehearsal) -> None:
    seven.log.report(ReplicaReport(replica="dead", at=seven.seconds + 1.7e9, every=2.0, entry=1))
    seven.log.report(ReplicaReport(replica="alive", at=seven.seconds + 1.8e9, every=2.0, entry=1))

    seven.step(2 * EXPIRED_SECONDS)

    assert {report.replica for report in seven.log.reports()} == {"alive", seven.replica}


def test_a_report_that_cannot_be_written_is_written_as_soon_as_it_can(seven: Rehearsal) -> None:
    seven.serve(8)
    replace = seven.memory.replace
    seven.memory.replace = _refuse  # type: ignore[method-assign]
    seven.step()
    assert (seven.serves, seven.report.entry) == ("8", 1)

    seven.memory.replace = replace  # type: ignore[method-assign]
    seven.step()
    assert seven.report.entry == 2


# Its thread


def test_a_store_that_hangs_holds_up_neither_answers_nor_the_end(seven: Rehearsal) -> None:
    # Given a follower whose store does not answer
    hangs, over = threading.Event(), threading.Event()

    def hang(name: str, limit: int | None = None) -> bytes:
        hangs.set()
        over.wait()
        raise FileNotFoundError(name)

    seven.memory.read = hang  # type: ignore[method-assign]
    seven.follower.start()
    until(hangs.is_set)

    # Then requests are answered, and it ends when it is told to
    assert seven.answering.answer(b"a", lambda model: model.rows(ROWS[:1]))[0].entry.version == "7"
    seven.follower.stop(seconds=0.1)
    over.set()


def test_a_fault_of_its_own_does_not_end_it(stage: Rehearsal, caplog: pytest.LogCaptureFixture) -> None:
    # Given a loader that breaks once
    stage.shelf.put(7)
    stage.serve(7)
    want, broken = stage.shelf.want, [True]

    def breaks(entries: object) -> None:
        if broken.pop() if broken else False:
            raise ZeroDivisionError
        want(entries)  # type: ignore[arg-type]

    stage.shelf.want = breaks  # type: ignore[method-assign]
    stage.follower.start()

    until(lambda: stage.serves == "7")
    stage.follower.stop()
    assert "releases of flight_delay cannot be followed" in caplog.text


def under_way(stage: Rehearsal, phase: Phase = Phase.CANARY, share: float = 1.0) -> None:
    """Version 8 on trial, with a conductor."""
    stage.try_out(8, phase, share)
    stage.beat()
    stage.step()
    stage.beat()
    stage.step()
    assert stage.tries == "8"


def _refuse(name: str, content: bytes) -> None:
    raise NotReadyError("no room")


def test_a_shadow_at_work_is_no_reason_to_report() -> None:
    # Given a version on trial, and more requests to compare than one stretch of work takes
    play = Rehearsal()
    play.shelf.put(7, 8)
    play.serve(7)
    play.try_out(8, Phase.SHADOW, share=0.0, shadow_rows=600)
    play.beat()
    play.step()
    play.beat()
    play.step()
    for _ in range(400):
        play.answering.recent.put(msgspec.json.encode({"rows": ROWS[:3]}))
    written = play.memory.calls.count(("replace", f"{USE_CASE}/replicas/{play.replica}.json"))

    # When it works, for longer than it takes to compare all of them, and looks at the log once
    trial = play.answering.trial
    assert trial is not None
    play.follower.start()
    until(lambda: trial.tally.compared.proven.rows >= 600)
    play.follower.stop()

    # Then it has said so once, and once that it ended
    assert play.memory.calls.count(("replace", f"{USE_CASE}/replicas/{play.replica}.json")) - written <= 2
