"""A model in service, or on trial, which answers a request."""

from __future__ import annotations

from dataclasses import dataclass

from formats.release import InService
from formats.request_rows import RequestModel


@dataclass(frozen=True)
class Served:
    """A model and the name it goes by; requests hold one while they run, so a swap never mixes two.

    `instead` is the proven version, which answers if this one, still on trial, fails.
    """

    entry: InService
    model: RequestModel
    instead: Served | None = None
