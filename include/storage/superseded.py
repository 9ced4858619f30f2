"""Files of partitions that no manifest names any more, because a forced run has replaced them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from formats.manifest import MANIFEST
from include.storage.lake import TABLES, Lake, Partition


def vacuum(lake: Lake, written: Iterable[str] = (), *, grace: timedelta) -> None:
    """Delete what was superseded longer ago than the grace.

    That is done in the datasets that are no tables, among those named and those that this process has published to.
    """
    for dataset in sorted({*written, *lake.written}):
        if dataset.partition("/")[0] not in TABLES:
            delete_superseded(lake, _superseded(lake, dataset), grace)


def delete_superseded(lake: Lake, names: Iterable[str], grace: timedelta) -> None:
    """Delete files that their manifests no longer name, if these are older than the grace.

    A file that a publisher has just put again is new, and stays.
    """
    oldest = datetime.now(UTC) - grace
    for name in sorted(names):
        manifest = f"{name.rpartition('/')[0]}/{MANIFEST}"
        try:
            if max(map(lake.store.modified, (name, manifest))) < oldest:
                lake.store.delete(name)
        except FileNotFoundError:
            pass  # another run has


def _superseded(lake: Lake, dataset: str) -> Iterator[str]:
    """The files that the manifests of their folders do not name.

    Only those manifests are read whose folder has a name twice: stored names carry the hash of their content.
    """
    folders: dict[str, set[str]] = {}
    for name in lake.store.names(f"{lake.prefix}/{dataset}"):
        folder, _, file = name.rpartition("/")
        if file != MANIFEST:
            folders.setdefault(folder, set()).add(file)
    for folder, files in folders.items():
        if max(Counter(map(_published_name, files)).values()) > 1:
            manifest = lake.manifest(Partition.named(folder.removeprefix(f"{lake.prefix}/")))
            named = {file.name for file in manifest.files} if manifest else files
            yield from (f"{folder}/{file}" for file in sorted(files - named))


def _published_name(file: str) -> tuple[str, str]:
    """The name that a file was published under."""
    path = PurePosixPath(file)
    return path.stem.rpartition("-")[0], path.suffix
