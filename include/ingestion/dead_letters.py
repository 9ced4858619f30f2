"""Messages that could not be stored, and how to replay them.

`python -m include.ingestion.dead_letters list | replay ID… | replay --all`

A replay publishes a letter's exact bytes to its topic again and marks it replayed. If its schema or its table has
been corrected since, it is stored; if not, it becomes a new dead letter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime

from sqlalchemy import select, update

from include.database.tables import Tables
from include.errors import DataError, ExitCode, StepError
from include.excerpt import printable
from include.ingestion.brokers.address import open_broker
from include.ingestion.brokers.broker import Broker, Message
from include.ingestion.records import DeadLetterRow
from include.settings import Settings, load_settings

SHOWN = 60


class DeadLetters:
    """The dead letters of the tables."""

    def __init__(self, tables: Tables, broker: Broker) -> None:
        self.tables = tables
        self.broker = broker

    @classmethod
    def open(cls, settings: Settings) -> DeadLetters:
        """The dead letters of NIGHTSHIFT_DATABASE_URL, replayed to NIGHTSHIFT_BROKER."""
        return cls(Tables.open(settings), open_broker(settings))

    def all(self, *, waiting: bool = True) -> list[DeadLetterRow]:
        """The letters that were never replayed, or all of them; oldest first."""
        wanted = select(DeadLetterRow).order_by(DeadLetterRow.id)
        if waiting:
            wanted = wanted.where(DeadLetterRow.replayed_at.is_(None))
        with self.tables.session() as session:
            return list(session.scalars(wanted))

    def replay(self, letters: Sequence[DeadLetterRow]) -> int:
        """Publish letters again and mark them; answers how many.

        A letter is marked after the broker has it: after a kill in between it is replayed twice and stored once.
        """
        for letter in letters:
            with closing(self.broker.producer(letter.topic)) as producer:
                producer.send([_message(letter)])
            with self.tables.session() as session:
                mine = update(DeadLetterRow).where(DeadLetterRow.id == letter.id)
                session.execute(mine.values(replayed_at=datetime.now(UTC)))
        return len(letters)

    def chosen(self, numbers: Sequence[int]) -> list[DeadLetterRow]:
        """The letters of these ids; `DataError` for one that there is not."""
        letters = {letter.id: letter for letter in self.all(waiting=False)}
        if unknown := [number for number in numbers if number not in letters]:
            raise DataError(
                f"dead letter {unknown[0]}: there is none; see python -m include.ingestion.dead_letters list"
            )
        return [letters[number] for number in numbers]


def _message(letter: DeadLetterRow) -> Message:
    # The position as key keeps letters of one partition in order; their true key may be their fault.
    schema_id = (letter.schema_id or b"").decode("utf-8", "surrogateescape")
    return Message(f"{letter.topic}/{letter.partition}".encode(), letter.value, schema_id)


def _line(letter: DeadLetterRow) -> str:
    value = printable(letter.value[:SHOWN].decode("utf-8", "backslashreplace"))
    return (
        f"{letter.id}\t{letter.seen_at:%Y-%m-%d %H:%M}\t{letter.topic}/{letter.partition}/{letter.topic_offset}"
        f"\t{printable(letter.reason)}\t{value}"
    )


def main(argv: Sequence[str]) -> int:
    """The command line; its exit codes are a step's."""
    parser = argparse.ArgumentParser(prog="python -m include.ingestion.dead_letters")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="those never replayed: id, when, topic/partition/offset, reason, first bytes")
    replay = commands.add_parser("replay", help="publish them once more")
    replay.add_argument("ids", nargs="*", type=int)
    replay.add_argument("--all", action="store_true", help="all that were never replayed")
    given = parser.parse_args(list(argv))
    if given.command == "replay" and bool(given.ids) == given.all:
        parser.error("replay: name ids, or --all")
    try:
        letters = DeadLetters.open(load_settings())
        if given.command == "list":
            print("\n".join(map(_line, letters.all())) or "no dead letter is waiting")
        else:
            count = letters.replay(letters.all() if given.all else letters.chosen(given.ids))
            print(f"{count} dead letters replayed; the next shift of their workers takes them up")
    except StepError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return int(ExitCode.DONE)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
