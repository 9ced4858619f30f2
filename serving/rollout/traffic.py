"""How requests are shared between the version in service and the one on trial: the interface of a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Protocol

from serving.rollout.comparison import PhaseTally


class Traffic(Protocol):
    """Shares requests between two versions: in the server's own processes, or between two Deployments of a cluster.

    Each call raises `TrialError` when the version on trial cannot go on, and `EndedError` when someone else ended the
    rollout.
    """

    def shift(self, share: float) -> None:
        """Let the version on trial answer that share of the requests (0: none, it only shadows)."""

    def observe(self) -> PhaseTally:
        """What was seen since the last shift."""

    def promote(self, metrics: Mapping[str, Any], reason: str = "") -> None:
        """Let the version on trial answer everything, for good."""

    def withdraw(self, reason: str, metrics: Mapping[str, Any]) -> None:
        """Let the version in service answer everything again; the one on trial leaves."""


def takes_part(key: str | bytes, salt: str, share: float) -> bool:
    """Whether a caller's requests go to the version on trial: the same answer for one key in one rollout.

    The salt is the rollout's own, so that it is not always the same callers who try the new version.
    """
    raw = key if isinstance(key, bytes) else key.encode()
    digest = blake2b(raw, digest_size=8, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") < share * 2**64
