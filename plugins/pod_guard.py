"""A container runtime's duties for one process: pass signals on, leave nothing behind, end with the worker.

Run as `python -I -S pod_guard.py LIFELINE GRACE ARGV…` in a session of its own. LIFELINE is the number of a pipe's read
end whose other end only the worker holds: when the worker is gone, however it went, the pipe ends and so does every
process of the session. (PR_SET_PDEATHSIG would be tied to the worker's thread and would miss grandchildren.) SIGTERM is
passed on to the step; what is left GRACE seconds later is killed. The exit code is the step's, 128 + n for signal n.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress

KILLED = 128 + signal.SIGKILL


def session() -> list[int]:
    """The processes of this session except the guard (Linux only; elsewhere none can be listed)."""
    own = os.getpid()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:  # noqa: PTH112, PTH208 (pathlib: 10 ms a start)
        with suppress(OSError, ValueError):
            if int(name) != own and os.getsid(int(name)) == own:
                found.append(int(name))
    return found


def kill_session(step: int) -> None:
    """End every process of the session; a second look catches what was forked meanwhile."""
    for _ in range(2):
        for pid in {step, *session()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def watch(lifeline: int, step: int) -> None:
    """Wait until the worker is gone, then end everything."""
    os.read(lifeline, 1)
    kill_session(step)
    os._exit(KILLED)


def main(lifeline: int, grace: float, argv: list[str]) -> int:
    """Run the step and answer with its exit code."""
    os.set_inheritable(lifeline, False)
    # Blocked until there is a step to pass it on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    step = os.posix_spawnp(argv[0], argv, os.environ, setsigmask=[])

    def pass_on(_signum: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(step, signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, max(grace, 0.001))

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGALRM, lambda _signum, _frame: kill_session(step))
    threading.Thread(target=watch, args=(lifeline, step), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    _, status = os.waitpid(step, 0)
    kill_session(step)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
