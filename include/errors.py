"""Errors of a step, as exit codes that an operator can act on."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a step ended; 65, 70, 75 and 78 follow BSD sysexits.h (EX_DATAERR, EX_SOFTWARE, EX_TEMPFAIL, EX_CONFIG)."""

    DONE = 0
    BAD_DATA = 65
    BAD_CODE = 70
    FAULT = 75
    BAD_SETTINGS = 78
    SKIPPED = 99

    @property
    def final(self) -> bool:
        """Whether trying again cannot help."""
        return self in (ExitCode.BAD_DATA, ExitCode.BAD_CODE, ExitCode.BAD_SETTINGS)


class StepError(Exception):
    """One clear line that names the thing and the remedy."""

    exit_code = ExitCode.FAULT


class DataError(StepError):
    """The data breaks its contract; a retry would read the same data."""

    exit_code = ExitCode.BAD_DATA


class CodeError(StepError):
    """The code is wrong, the use case's or ours; a retry would run the same code."""

    exit_code = ExitCode.BAD_CODE


class SettingsError(StepError):
    """An argument or a setting is wrong or missing."""

    exit_code = ExitCode.BAD_SETTINGS


class FaultError(StepError):
    """Something outside failed (disk, network, a server); a retry may help."""


class LakeError(FaultError):
    """The lake cannot be read or written."""


class SkippedError(StepError):
    """There was nothing for this step to do, by its arguments."""

    exit_code = ExitCode.SKIPPED
