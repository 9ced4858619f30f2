"""Which nights `make up` will run by itself: those whose data a use case has, or has a stand-in for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from datetime import datetime

from include.errors import SettingsError
from include.packages import named_use_cases, packages
from include.settings import PREFIX
from include.use_case import UseCaseSpec, load_use_case

REPLAY = f"{PREFIX}REPLAY"


def replay_unless_decided(environment: MutableMapping[str, str], variables: Mapping[str, str]) -> None:
    """Switch replay on by default: there is to be a run every night, and samples end."""
    decided = environment.get(REPLAY) or variables.get(REPLAY.lower())
    named = named_use_cases(environment)
    if not decided and any(spec.replays for spec in specs(named)):
        environment[REPLAY] = "true"


def nights(use_cases: str, *, replay: bool, now: datetime) -> Iterator[str]:
    """A line for each use case: when its nights are due, and up to which day there are any."""
    for spec in specs(use_cases):
        due = f"{spec.name}: due by {spec.cron!r} in {spec.timezone}"
        ended = spec.day_end(spec.last_day) <= now
        if spec.replays and replay:
            yield f"{due}, every night; its sample ends with {spec.last_day}, whose year stands in for later days"
            yield f"{' ' * len(spec.name)}  the newest night begins now unless it has run; {REPLAY}=false: none at all"
        elif ended:
            hint = f"; {REPLAY}=true lets its year stand in for later days" if spec.replays else ""
            yield f"{spec.name}: no next night, as its data end with {spec.last_day}{hint}"
        else:
            yield f"{due}, up to {spec.last_day}"


def specs(use_cases: str) -> Iterator[UseCaseSpec]:
    """The use cases named; one that cannot be loaded is reported in a line and left out."""
    for package in packages(use_cases):
        try:
            yield load_use_case(package).spec
        except SettingsError as error:
            print(f"note     {error}")
