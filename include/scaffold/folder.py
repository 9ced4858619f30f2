"""A new use case's folder: shops whose visitors are predicted, in files to be changed one by one."""

from __future__ import annotations

import csv
import re
from datetime import date, timedelta
from pathlib import Path
from random import Random

from formats.task import Task
from include.errors import SettingsError
from include.packages import FOLDER
from include.spec_rules import NAME

TEMPLATE = Path(__file__).parent / "template"
FIRST, LAST = date(2026, 5, 1), date(2026, 6, 30)
SHOPS = 20


def write(where: str, task: Task) -> Path:
    """A folder that passes `make check` and a night as it is: `include/use_cases/<name>`, or the path given.

    Raises `SettingsError` for a name that cannot be one, and for a folder that is there.
    """
    folder = Path(where).expanduser().resolve() if "/" in where else FOLDER / where
    if not re.fullmatch(NAME, folder.name):
        raise SettingsError(f"USE_CASE={where!r}: {folder.name!r} is no name; write small letters, digits and _")
    if folder.exists():
        raise SettingsError(f"USE_CASE={where!r}: {folder} is there already; choose another name")
    package = f"include.use_cases.{folder.name}" if folder.parent == FOLDER else folder.name
    words = {"{{name}}": folder.name, "{{package}}": package, "{{task}}": task.name}
    (folder / "data").mkdir(parents=True)
    for path in sorted((*(TEMPLATE / "every").iterdir(), *(TEMPLATE / task).iterdir())):
        text = path.read_text(encoding="utf-8")
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        (folder / path.stem).write_text(text, encoding="utf-8")
    _write_visits(folder / "data" / "visits.csv")
    return folder


def _write_visits(path: Path) -> None:
    """Visitors of some shops: the more, the warmer the day, at weekends, and by habit; the last day is to come."""
    random = Random(20260501)  # noqa: S311 (a sample, no secret)
    habits = [random.randint(40, 90) for _ in range(SHOPS)]
    with path.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("shop_day", "date", "shop", "weekday", "forecast", "visitors"))
        for ahead in range((LAST - FIRST).days + 2):
            day = FIRST + timedelta(days=ahead)
            for shop, habit in enumerate(habits):
                forecast = round(random.uniform(8, 32), 1)
                crowd = habit + 3 * (forecast - 20) + (25 if day.weekday() > 4 else 0) + random.gauss(0, 6)
                visitors = "" if day > LAST else max(round(crowd), 0)
                table.writerow((f"{day}-{shop}", day, f"shop {shop}", day.isoweekday(), forecast, visitors))
