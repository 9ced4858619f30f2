from __future__ import annotations

import psycopg
import pytest

from include.database.tables import Tables
from include.ingestion import dead_letters
from include.ingestion.brokers.broker import Message
from include.ingestion.dead_letters import DeadLetters
from include.settings import Settings
from tests.include.ingestion.site import Site

pytestmark = pytest.mark.stack


@pytest.fixture
def poisoned(site: Site, messages: dict[str, list[Message]]) -> Site:
    """Ten good records that the database refused, since mended, and one that is no record at all."""
    with psycopg.connect(site.url) as session:
        session.execute(
            "CREATE FUNCTION bar() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'barred' USING ERRCODE = '22000'; END $$"
        )
        session.execute("CREATE TRIGGER bar BEFORE INSERT ON weather_observations EXECUTE FUNCTION bar()")
    site.publish("a1", [*messages["a1"][:10], Message(b"key", b"no JSON", "a1/1")])
    assert site.run("worker_1").dead_letters == 11
    with psycopg.connect(site.url) as session:
        session.execute("DROP TRIGGER bar ON weather_observations")
    return site


@pytest.fixture
def letters(poisoned: Site) -> DeadLetters:
    return DeadLetters(Tables.open(Settings(database_url=poisoned.url)), poisoned.broker)


def test_a_replay_stores_what_can_be_stored_by_now(poisoned: Site, letters: DeadLetters) -> None:
    assert poisoned.rows("a1") == {}
    assert letters.replay(letters.all()) == 11
    tally = poisoned.run("worker_1")
    assert (tally.records, tally.dead_letters) == (10, 1)
    assert len(poisoned.rows("a1")) == 10
    assert [letter.value for letter in letters.all()] == [b"no JSON"]


def test_one_letter_is_replayed_by_its_number(poisoned: Site, letters: DeadLetters) -> None:
    first, *others = letters.all()
    letters.replay(letters.chosen([first.id]))
    assert [letter.id for letter in letters.all()] == [letter.id for letter in others]
    assert poisoned.run("worker_1").records == 1


def test_the_command_lists_and_replays(
    poisoned: Site, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DeadLetters, "open", lambda settings: letters)
    assert dead_letters.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert len(listed.splitlines()) == 11
    assert "not JSON\tno JSON" in listed
    assert dead_letters.main(["replay", "--all"]) == 0
    assert dead_letters.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no dead letter is waiting"
    assert dead_letters.main(["replay", "4711"]) == 65
    assert "dead letter 4711: there is none" in capsys.readouterr().err
