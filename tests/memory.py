"""A releases folder that needs no disk."""

from __future__ import annotations

from collections.abc import Iterator

from formats.portable_model import ServingError


class Memory:
    """A releases folder in memory; while it is away, every call fails."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.away = False
        self.calls: list[tuple[str, str]] = []

    def read(self, name: str, limit: int | None = None) -> bytes:
        self._call("read", name)
        if name not in self.blobs:
            raise FileNotFoundError(name)
        return self.blobs[name]

    def create(self, name: str, content: bytes) -> bool:
        self._call("create", name)
        return self.blobs.setdefault(name, content) is content

    def replace(self, name: str, content: bytes) -> None:
        self._call("replace", name)
        self.blobs[name] = content

    def delete(self, name: str) -> None:
        self._call("delete", name)
        self.blobs.pop(name, None)

    def tags(self, prefix: str, after: str = "") -> Iterator[tuple[str, str]]:
        self._call("tags", prefix)
        names = [name for name in sorted(self.blobs) if name.startswith(f"{prefix}/")]
        return iter([(name, "") for name in names if name >= f"{prefix}/{after}"])

    def _call(self, what: str, name: str) -> None:
        self.calls.append((what, name))
        if self.away:
            raise ServingError("the store is away")
