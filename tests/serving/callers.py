"""Callers who keep asking a server, and what they were answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx

from tests.waiting import PATIENCE

Row = dict[str, Any]


class Callers:
    """Threads that ask for predictions one after another, from entering the block to leaving it."""

    def __init__(self, urls: Sequence[str], rows: Sequence[Row], *, threads: int = 4) -> None:
        self.versions: Counter[str] = Counter()
        self.sides: dict[str, set[str]] = {}
        self.failed: list[str] = []
        self._rows = list(rows)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(urls[number % len(urls)], number)) for number in range(threads)
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def answers(self) -> int:
        """How many answers there were so far."""
        return sum(self.versions.values())

    def forget(self) -> None:
        """Count answers anew."""
        with self._lock:
            self.versions.clear()
            self.sides.clear()

    def seen(self) -> tuple[dict[str, set[str]], dict[str, int]]:
        """Which versions answered each caller, and how often each version answered."""
        with self._lock:
            return {caller: set(side) for caller, side in self.sides.items()}, dict(self.versions)

    def _ask(self, url: str, number: int) -> None:
        with httpx.Client(timeout=PATIENCE) as client:
            turn = 0
            while not self._over.is_set():
                turn += 1
                # Forty ids a thread, so that each is asked for many times.
                caller = f"caller-{number}-{turn % 40}"
                try:
                    answer = client.post(
                        f"{url}/v1/predict", json={"rows": self._rows}, headers={"X-Request-Id": caller}
                    )
                    said = answer.json()["model_version"] if answer.status_code == 200 else None
                except httpx.HTTPError as error:
                    said, answer = None, str(error) or type(error).__name__  # type: ignore[assignment]
                with self._lock:
                    if said is None:
                        self.failed.append(str(answer))
                    else:
                        self.versions[said] += 1
                        self.sides.setdefault(caller, set()).add(said)
