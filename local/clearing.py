"""The result of `airflow tasks clear`, which reports nothing itself, not even that it found nothing to clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local.database import session

RUNS = "SELECT run_id, clear_number, logical_date IS NULL FROM dag_run WHERE dag_id = %s"
DATES = ("-s", "--start-date", "-e", "--end-date")


@dataclass(frozen=True)
class Clearing:
    """One such command, seen from the runs of its DAG before and after it."""

    database_url: str
    dag_id: str
    dated: bool
    before: dict[str, int]

    @classmethod
    def begun(cls, database_url: str, argv: Sequence[str]) -> Clearing | None:
        """The command that is about to run; None where it is another one."""
        names = [word for word in argv[2:3] if not word.startswith("-")]
        if tuple(argv[:2]) != ("tasks", "clear") or not names:
            return None
        dated = any(word.split("=")[0] in DATES for word in argv)
        return cls(database_url, names[0], dated, {run: number for run, number, _ in _runs(database_url, names[0])})

    def told(self) -> str:
        """What was cleared, in one line, and what was not: a range of dates leaves out runs without a date."""
        runs = _runs(self.database_url, self.dag_id)
        cleared = sum(number != self.before.get(run) for run, number, _ in runs)
        by_hand = sum(undated for _, _, undated in runs) if self.dated else 0
        said = f"cleared tasks in {cleared} of the {len(runs)} runs of {self.dag_id}" if cleared else "cleared nothing"
        if by_hand:
            said += f"; -s and -e look at logical dates, which runs started by hand do not have ({by_hand} here)"
            said += ": leave the dates out, or clear those runs in the UI"
        return said


def _runs(database_url: str, dag_id: str) -> list[tuple[str, int, bool]]:
    with session(database_url) as connection:
        return [(str(run), int(number), bool(undated)) for run, number, undated in connection.execute(RUNS, (dag_id,))]
