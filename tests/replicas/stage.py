"""All that a release needs: replicas behind a load balancer, a lake, and nights that register and deploy versions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.replicas.calls import Calls
from tests.replicas.nights import Nights
from tests.replicas.places import BucketPlace, FolderPlace, Place
from tests.replicas.replicas import Replicas


class Lakes(StrEnum):
    """Where the lake and its releases are."""

    FOLDER = "folder"
    S3 = "s3"


@dataclass
class Stage:
    """What a test works with."""

    folder: Path
    place: Place
    replicas: Replicas
    nights: Nights

    @classmethod
    def build(cls, folder: Path, lakes: Lakes, number: int, **settings: str) -> Stage:
        """Start so many replicas, with a lake of that kind and a balancer."""
        folder.mkdir(parents=True, exist_ok=True)
        place: Place = BucketPlace(folder) if lakes is Lakes.S3 else FolderPlace(folder)
        replicas = Replicas(folder, place, number, **settings)
        stage = cls(folder, place, replicas, Nights(folder, place))
        try:
            replicas.start()
            replicas.balancer.start()
        except BaseException:
            stage.close()
            raise
        return stage

    @property
    def size(self) -> int:
        """How many replicas there are."""
        return len(self.replicas.processes)

    def reset(self) -> None:
        """Nothing is served, nothing is under way, and everything runs."""
        self.nights.stop()
        self.replicas.reset()

    def served(self) -> str:
        """A new version that every replica serves, and the balancer knows."""
        version = self.nights.released()
        self.replicas.until_agreed(version)
        self.replicas.balancer.until_up(self.size)
        return version

    def calls(self) -> Calls:
        """A steady load on the balancer."""
        return Calls(self.replicas.balancer.url, self.folder)

    def close(self) -> None:
        """Stop everything."""
        self.nights.stop()
        self.replicas.stop()
        self.place.close()
