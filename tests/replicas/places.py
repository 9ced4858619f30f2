"""Where the lake with its releases is, and how one replica loses sight of it: a folder, or a bucket of a real S3."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from stores.store import Store, open_store
from tests.replicas.line import Line
from tests.replicas.s3_server import BUCKET, CREDENTIALS, S3Server

RELEASES = "_serving"


class Place(Protocol):
    """A lake that replicas follow, each on a way of its own that can be cut."""

    lake: str
    endpoint: str | None

    def steps(self) -> dict[str, str]:
        """The variables by which steps find the lake."""

    def replica(self, number: int) -> tuple[str, dict[str, str]]:
        """The releases folder as one replica sees it, and its variables."""

    def releases(self) -> Store:
        """The releases folder, as a test reads it."""

    def cut(self, number: int) -> None:
        """Take the lake away from one replica."""

    def mend(self) -> None:
        """Put everything right again."""

    def close(self) -> None:
        """Stop what was started."""


class FolderPlace:
    """A folder of this machine; each replica comes to it by a link."""

    endpoint: str | None = None

    def __init__(self, folder: Path) -> None:
        self.lake = str(folder / "lake")
        self._folder = folder
        self._replicas = 0
        (folder / "lake" / RELEASES).mkdir(parents=True)
        (folder / "no folder").touch()

    def steps(self) -> dict[str, str]:
        return {"NIGHTSHIFT_LAKE": self.lake}

    def replica(self, number: int) -> tuple[str, dict[str, str]]:
        self._replicas = max(self._replicas, number + 1)
        self._lead(number, Path(self.lake) / RELEASES)
        return str(self._link(number)), {}

    def releases(self) -> Store:
        return open_store(f"{self.lake}/{RELEASES}")

    def cut(self, number: int) -> None:
        self._lead(number, self._folder / "no folder")

    def mend(self) -> None:
        for number in range(self._replicas):
            self._lead(number, Path(self.lake) / RELEASES)

    def close(self) -> None:
        pass

    def _lead(self, number: int, target: Path) -> None:
        new = self._folder / "new link"
        new.symlink_to(target)
        new.rename(self._link(number))

    def _link(self, number: int) -> Path:
        return self._folder / f"releases as r{number} sees them"


class BucketPlace:
    """A bucket of a real S3 server, which can be killed; each replica comes to it by a line that can be cut."""

    def __init__(self, folder: Path) -> None:
        self.lake = f"s3://{BUCKET}/night"
        self.server = S3Server(folder).start()
        self.server.make_bucket()
        self.endpoint: str | None = self.server.url
        self._lines: dict[int, Line] = {}

    def steps(self) -> dict[str, str]:
        return {"NIGHTSHIFT_LAKE": self.lake, "NIGHTSHIFT_S3_ENDPOINT": self.server.url, **CREDENTIALS}

    def replica(self, number: int) -> tuple[str, dict[str, str]]:
        line = self._lines.setdefault(number, Line(self.server.port))
        return f"{self.lake}/{RELEASES}", {"SERVING_S3_ENDPOINT": line.url, **CREDENTIALS}

    def releases(self) -> Store:
        return open_store(f"{self.lake}/{RELEASES}", endpoint=self.server.url)

    def cut(self, number: int) -> None:
        self._lines[number].cut()

    def mend(self) -> None:
        for line in self._lines.values():
            line.mend()
        if not self.server.runs:
            self.server.start()

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        self.server.kill()
