"""A step that does as it is told; run by the tests of the step runner."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from contextlib import suppress

from include.errors import DataError, SkippedError
from include.step import Context, Result, StepArguments, main

INJECTED = "x\x1b[2J\x9b31m\u202e\nvalidate: 0 findings"
"""A cell that clears the screen, colours, turns round and begins a line."""


class UnspeakableError(LookupError):
    """Its text is asked of something that is gone, as Spark's errors ask Java."""

    def __str__(self) -> str:
        raise AssertionError


class Arguments(StepArguments):
    """What to do."""

    act: str = "done"
    times: int = 1


def echo(context: Context, arguments: Arguments) -> Result:
    """End as `act` says."""
    if arguments.act == "bad_data":
        raise DataError("rule range,\n   column x: 3 rows\tare bad")
    if arguments.act == "skipped":
        raise SkippedError("not among the candidates")
    if arguments.act == "crash":
        raise KeyError("nobody thought of this")
    if arguments.act == "long":
        return Result(facts={"text": "x" * 5000})
    if arguments.act == "long_error":
        raise DataError("é" * 5000)
    if arguments.act == "wait":
        print("waiting", flush=True)
        time.sleep(60)
    if arguments.act == "misunderstand":
        with suppress(Exception):
            print("waiting", flush=True)
            time.sleep(60)
        raise DataError("the answer is no answer")
    if arguments.act == "leak":
        told = os.environ["NIGHTSHIFT_TRACKING_URL"]
        print(f"asking {told}")
        logging.getLogger("a library").warning("no answer from %s", told)
        warnings.warn(f"{told} is slow", stacklevel=1)
        raise OSError(f"nobody at {told}")
    if arguments.act == "boast":
        return Result(facts={"asked": os.environ["NIGHTSHIFT_TRACKING_URL"], "n": 1})
    if arguments.act == "swallow":
        while True:
            with suppress(Exception):
                print("waiting", flush=True)
                time.sleep(60)
    if arguments.act == "stumble":
        try:
            raise ConnectionResetError("the other side is gone")
        except OSError as error:
            raise TypeError("a library stumbled over it") from error
    if arguments.act == "unspeakable":
        raise UnspeakableError
    if arguments.act == "surrogate":
        raise DataError("a file is named \udcff")
    if arguments.act == "inject":
        logging.getLogger("nightshift").warning("a cell says %s", INJECTED)
        print("a cell says", INJECTED.partition("\n")[0])
        raise ValueError(INJECTED)
    if arguments.act == "exit":
        sys.exit(3)
    if arguments.act == "suicide":
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(rows={"echo": arguments.times}, facts={"lake": context.lake.prefix, "force": arguments.force})


if __name__ == "__main__":
    main(Arguments, echo)
