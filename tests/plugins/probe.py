"""A step for tests: it says what it was told, in whatever way a step can end.

It uses nothing of the project, so it starts at once and knows the pod's contract only as a container does: arguments,
environment, exit code, termination log.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser()
    for name in ("use-case", "date", "candidate", "message", "children", "tell"):
        parser.add_argument(f"--{name}")
    for name in ("exit", "lines"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--sleep", type=float, default=0)
    arguments = parser.parse_args()

    if arguments.children:
        # One child of the same group, and one that leaves it, as a Python worker of Spark does.
        children = [subprocess.Popen(["sleep", "600"], process_group=group) for group in (None, 0)]
        pids = [os.getpid(), *(child.pid for child in children)]
        part = Path(f"{arguments.children}.part")
        part.write_text(json.dumps(pids))
        part.rename(arguments.children)
    for number in range(arguments.lines):
        print(f"line {number}")
    time.sleep(arguments.sleep)
    asked = (arguments.tell or "").split(",")
    told = {"argv": sys.argv[1:], "environment": {name: os.environ.get(name) for name in asked if name}}
    message = json.dumps({"facts": told}) if arguments.message is None else arguments.message
    Path(os.environ["NIGHTSHIFT_TERMINATION_LOG"]).write_text(message)
    return int(arguments.exit)


if __name__ == "__main__":
    sys.exit(main())
