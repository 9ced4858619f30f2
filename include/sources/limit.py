"""The size limit of a source's files."""

from __future__ import annotations

from dataclasses import dataclass

from include.errors import DataError

MIB = 1 << 20


@dataclass(frozen=True)
class Limit:
    """The bytes that a file may have: as it comes, unpacked, and as a table. `where` names the file in the error."""

    where: str
    max_bytes: int

    def check(self, size: int) -> None:
        """Raise `DataError` for more bytes than that."""
        if size > self.max_bytes:
            raise DataError(
                f"source: {self.where} has more than {self.max_bytes / MIB:g} MiB, packed or unpacked; "
                "deliver smaller files, or raise max_bytes of its Files (and the memory of the step)"
            )
