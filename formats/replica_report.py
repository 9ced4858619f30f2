"""What a replica says of itself: which entry of a log it has reached, what it holds, and what it saw of a trial."""

from __future__ import annotations

import msgspec

from formats.comparison import PhaseTally


class ReplicaReport(msgspec.Struct, kw_only=True):
    """A replica's object, replaced as a whole; `at` is its own clock's time (s since 1970), `every` when it looks (s).

    `entry` is the newest entry it has read. `serving`, `prepared` and `on_trial` are SHA-256 of what it holds, empty
    for nothing. `error` says what it cannot load, and `refused` that no further attempt can help. `left`: it has ended,
    and only its counts matter.
    """

    replica: str
    at: float
    every: float
    entry: int
    serving: str = ""
    prepared: str = ""
    on_trial: str = ""
    error: str = ""
    refused: bool = False
    left: bool = False
    phase: str = ""
    tally: PhaseTally = msgspec.field(default_factory=PhaseTally)


class Lease(msgspec.Struct):
    """Held by who conducts a trial, and renewed by another `beat`; a replica that sees none for `seconds` leaves it."""

    holder: str
    beat: int
    seconds: float
