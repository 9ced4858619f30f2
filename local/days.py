"""Which data days can be run; as a program it runs before anything is installed."""

from __future__ import annotations

import os
import sys
from datetime import date, datetime, timedelta, timezone

from include.errors import SettingsError
from include.packages import default_use_cases, first_package, named_use_cases, packages
from include.use_case import UseCaseSpec, load_use_case


def main() -> None:
    """Refuse a DATE that no setting would allow, with one line and the exit code of a wrong setting."""
    package = first_package(named_use_cases(os.environ))
    now = datetime.now(timezone.utc)  # noqa: UP017 - an older Python shall get as far as the installer's own words
    try:
        spec = load_use_case(package).spec
        _refuse_wrong(sys.argv[1] or first_full_day(spec).isoformat(), spec, now)
    except SettingsError as error:
        print(f"nightshift: {error}", file=sys.stderr)
        raise SystemExit(int(error.exit_code)) from None


def first_full_day(spec: UseCaseSpec) -> date:
    """The day to run for when none is named: the first that has a whole history behind it, if there is such a day."""
    return min(spec.first_day + timedelta(days=spec.history_days + 1), spec.last_day)


def _refuse_wrong(text: str, spec: UseCaseSpec, now: datetime) -> None:
    # Whether later days have data is a setting, which cannot be read yet; without it most have none.
    try:
        data_day(text, spec, replay=True, now=now)
    except SettingsError:
        data_day(text, spec, replay=False, now=now)


def data_day(text: str, spec: UseCaseSpec, *, replay: bool, now: datetime, variable: str = "DATE") -> date:
    """The day that `DATE` names, or a `SettingsError` that says what is wrong with it and what would do.

    `variable` is the name that the day was given under.
    """
    replay = replay and spec.replays
    example = f"such as {variable}={spec.last_day.replace(day=1).isoformat()}"
    if not text.strip():
        raise SettingsError(f"no {variable} given: name the data day to run for, {example}")
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise SettingsError(f"{variable}={text}: not a date; write YYYY-MM-DD, {example}") from None
    if spec.day_end(day) > now:
        newest = min(spec.newest_day_over(now), date.max if replay else spec.last_day)
        raise SettingsError(
            f"{variable}={day}: that day is in the future or not over yet; the newest that is: {newest}"
        )
    if day < spec.first_day or (day > spec.last_day and not replay):
        late = day > spec.last_day and spec.replays
        hint = "; NIGHTSHIFT_REPLAY=true lets the sample year stand in for later days" if late else ""
        raise SettingsError(
            f"{variable}={day}: outside the data of {spec.name}, which has {spec.first_day} to {spec.last_day}{hint}"
            + _forgotten(spec)
        )
    return day


def _forgotten(spec: UseCaseSpec) -> str:
    """A hint for a user who means a use case of their own and has not named it in this shell."""
    if os.environ.get("NIGHTSHIFT_USE_CASES") or spec.package not in packages(default_use_cases()):
        return ""
    return "; NIGHTSHIFT_USE_CASES is not set: for another use case name its package there"


if __name__ == "__main__":
    main()
