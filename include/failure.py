"""What an exception means: one line for people, and an exit code for the scheduler."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from include.errors import CodeError, ExitCode, StepError

ROOT = Path(__file__).resolve().parents[1]

_OF_CODE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""Errors of a program itself, which would happen again."""
_OF_CONTENT = frozenset({"JSONDecodeError", "UnicodeDecodeError", "UnicodeTranslateError"})
"""Value errors about bytes from outside: the next answer may be complete."""
_IN_TEXT = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True)
class Failure:
    """How a step failed; `unforeseen` asks for the whole traceback in the log."""

    message: str
    code: ExitCode
    unforeseen: bool


def failure(error: BaseException, package: str = "") -> Failure:
    """What an exception means that ended a step of a use case's package.

    A programming error, the use case's or ours, is final and names file and line: the deepest one in the package, else
    the deepest one of this project. A passing error of a library (I/O, a server's answer) is a fault.
    """
    if isinstance(error, StepError) and not isinstance(error, CodeError):
        return Failure(_text(error), error.exit_code, unforeseen=False)
    folder = _folder(package)
    text = _text(error) if isinstance(error, CodeError) else f"{type(error).__name__}: {_text(error)}"
    if not _is_of_code(error, folder):
        return Failure(text, ExitCode.FAULT, unforeseen=True)
    place = _place(error, folder) or "no file of this project"
    return Failure(f"{place}: {text}; correct the code, a retry would run the same", ExitCode.BAD_CODE, unforeseen=True)


def line_of(error: BaseException, package: str) -> str:
    """The name of a package's file and the line at which an error came up; empty where none of its lines did."""
    folder = str(Path(*package.split(".")))
    lines = [at for at in traceback.extract_tb(error.__traceback__) if Path(at.filename).parent.match(folder)]
    return f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else ""


def _is_of_code(error: BaseException, folder: Path | None) -> bool:
    if isinstance(error, CodeError | SystemExit):
        return True
    if isinstance(error, OSError | MemoryError) or any(_may_pass(cause) for cause in _causes(error)):
        return False
    if isinstance(error, _OF_CODE):
        return type(error).__name__ not in _OF_CONTENT
    if type(error).__module__.partition(".")[0] == "pandas":
        return True
    frames = list(_frames(error))
    return bool(folder and frames and folder in frames[-1][0].parents)  # the use case itself raised it


def _may_pass(cause: BaseException) -> bool:
    """Whether something outside was out of reach: a library may raise an error of its own because of it."""
    if isinstance(cause, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError):
        return False
    return isinstance(cause, OSError | MemoryError) or (
        isinstance(cause, StepError) and cause.exit_code is ExitCode.FAULT
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error
    while True:
        following = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if following is None or id(following) in seen:
            return
        seen.add(id(following))
        cause = following
        yield cause


def _place(error: BaseException, folder: Path | None) -> str:
    """`file:line` of the deepest frame in the use case's package, else in this project."""
    frames = list(_frames(error))
    inside = [frame for frame in frames if folder and folder in frame[0].parents]
    ours = [frame for frame in frames if ROOT in frame[0].parents and "site-packages" not in frame[0].parts]
    for path, line in [*reversed(inside), *reversed(ours)]:
        return f"{path.relative_to(ROOT) if ROOT in path.parents else path}:{line}"
    return ""


def _frames(error: BaseException) -> Iterator[tuple[Path, int]]:
    """Files and lines from the outermost to the deepest; in text, where another process tells of its own."""
    for frame in traceback.extract_tb(error.__traceback__):
        yield Path(frame.filename), frame.lineno or 0
    if isinstance(error, SyntaxError) and error.filename:
        yield Path(error.filename), error.lineno or 0
    for path, line in _IN_TEXT.findall("\n".join([_text(error), *getattr(error, "__notes__", ())])):
        yield Path(path), int(line)


def _folder(package: str) -> Path | None:
    try:
        found = find_spec(package) if package else None
    except (ImportError, ValueError):
        return None
    folders = list(found.submodule_search_locations or ()) if found else []
    return Path(folders[0]).resolve() if folders else None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # an error whose own words fail must not hide where it was raised
        return f"(its text cannot be had: {type(second).__name__})"
