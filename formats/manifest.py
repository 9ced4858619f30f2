"""What a published partition consists of: the file that is written last, and read first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

MANIFEST = "_manifest.json"


@dataclass(frozen=True)
class File:
    """One file of a partition; `rows` is 0 for files that are no tables."""

    name: str
    size: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a published partition consists of, and what it was made from.

    `inputs` maps a partition (or any other ingredient) to its content hash.
    """

    partition: str
    files: tuple[File, ...]
    inputs: Mapping[str, str]

    @property
    def rows(self) -> int:
        """Rows over all files."""
        return sum(file.rows for file in self.files)

    @property
    def sha256(self) -> str:
        """A hash of the partition's content: its files' names and hashes, in order."""
        content = "".join(f"{file.name}:{file.sha256}\n" for file in self.files)
        return hashlib.sha256(content.encode()).hexdigest()

    def to_json(self) -> bytes:
        """The manifest as canonical JSON: equal manifests are equal bytes."""
        body = {
            "partition": self.partition,
            "rows": self.rows,
            "sha256": self.sha256,
            "files": [vars(file) for file in self.files],
            "inputs": dict(sorted(self.inputs.items())),
        }
        return (json.dumps(body, indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """A manifest from `to_json`'s bytes."""
        body = json.loads(content)
        return cls(body["partition"], tuple(File(**file) for file in body["files"]), body["inputs"])
