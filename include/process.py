"""This process: since when it runs, and how much memory it took."""

from __future__ import annotations

import os
import resource
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path


def peak_rss_mib() -> float:
    """Peak resident memory of this process and of its largest finished child, in MiB (Linux counts in KiB)."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(max(own, children) / 1024, 1)


def process_start() -> datetime:
    """When this process began, UTC: loading the interpreter and libraries is the step's own time, not Airflow's."""
    now = datetime.now(UTC)
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except OSError:
        return now
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return now - timedelta(seconds=max(age, 0.0))
