"""Ice cream from one file: each row holds a kiosk's plan, and what it sold once its day was over."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.use_case_copy import ICE_CREAM, ROOT, copied

DATA = ROOT.joinpath(*ICE_CREAM.split("."), "data")

CONTRACT = """
RAW = {
    "kiosks": Contract(
        "kiosks",
        columns=(
            *_KIOSK,
            Column("stock", Kind.INTEGER, minimum=1),
            Column("forecast", Kind.NUMBER, minimum=-20, maximum=50),
            Column("sold", Kind.INTEGER, minimum=0),
            Column("sold_out", Kind.FLAG),
        ),
        key=("kiosk_day",),
        order=("kiosk_day",),
        max_quarantined=0.1,
    ),
}
"""
TOPICS = """    topics=(Topic("kiosks", day_offset=1, outcomes=("sold", "sold_out")),),
    horizons=(Horizon("morning", day_offset=1),),
    examples="kiosks",
    outcomes="kiosks",
"""


ABSENT = ("data/plans.csv", "data/sales.csv", "streams.py", "timetable.yaml")
"""What it has no need of."""


@contextmanager
def one_table(folder: Path) -> Iterator[str]:
    """The dotted package, as long as the block lasts."""
    with copied(folder, dict.fromkeys(ABSENT), name="one_table") as package:
        home = folder / "one_table"
        _write(home / "data" / "kiosks.csv")
        contracts = (home / "contracts.py").read_text()
        (home / "contracts.py").write_text(contracts[: contracts.index("RAW = {")] + CONTRACT)
        spec = (home / "spec.py").read_text()
        first, last = spec.index("    topics="), spec.index("    key=")
        (home / "spec.py").write_text(spec[:first] + TOPICS + spec[last:])
        sources = (home / "sources.py").read_text()
        files = '{"plans": Files("plans.csv", date_column="date"), "sales": Files("sales.csv", date_column="date")}'
        (home / "sources.py").write_text(sources.replace(files, '{"kiosks": Files("kiosks.csv", date_column="date")}'))
        features = (home / "features.py").read_text().replace('raw["plans"]', 'raw["kiosks"]')
        (home / "features.py").write_text(features.replace('raw["sales"]', 'raw["kiosks_outcomes"]'))
        yield package


def _write(path: Path) -> None:
    """Plans and sales side by side; the plans of the days to come have no sales yet."""
    sales = {row["kiosk_day"]: row for row in csv.DictReader((DATA / "sales.csv").read_text().splitlines())}
    plans = list(csv.DictReader((DATA / "plans.csv").read_text().splitlines()))
    with path.open("w", newline="") as out:
        table = csv.DictWriter(out, [*plans[0], "sold", "sold_out"])
        table.writeheader()
        for plan in plans:
            sale = sales.get(plan["kiosk_day"], {})
            table.writerow(plan | {name: sale.get(name, "") for name in ("sold", "sold_out")})
