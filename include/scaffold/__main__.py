"""`python -m include.scaffold --use-case yours --task regression`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from formats.task import Task
from include.errors import ExitCode, StepError
from include.scaffold.folder import write


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Write a use case and say what to do with it."""
    parser = argparse.ArgumentParser(prog="python -m include.scaffold", description=__doc__)
    parser.add_argument("--use-case", required=True, help="its name, or the folder to write")
    parser.add_argument("--task", choices=[str(task) for task in Task], default=str(Task.BINARY))
    given = parser.parse_args(argv)
    try:
        folder = write(given.use_case, Task(given.task))
    except StepError as error:
        print(f"nightshift: {error}", file=sys.stderr)
        return error.exit_code
    print(f"wrote {folder}; next: make check USE_CASE={given.use_case}, then put your own data in its place")
    return ExitCode.DONE


if __name__ == "__main__":
    raise SystemExit(main())
