"""What a server served before there were releases, taken over as the first entry of a log."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from formats.release import InService, ReleaseEvent
from include.deployment.writer import OvertakenError, ReleaseWriter
from include.settings import Settings

CURRENT = "current.json"


def import_served(settings: Settings, state: Path) -> InService | None:
    """Take over what `current.json` in a server's state folder says, and remove that; None if there is nothing new."""
    path = state / CURRENT
    try:
        entry = InService.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    writer = ReleaseWriter.open(settings, entry.use_case)
    tail = writer.tail()
    if tail.number:
        return None
    release = tail.release.served(entry)
    try:
        writer.append(tail, ReleaseEvent.DEPLOYED, entry.version, release, why="served before there were releases")
    except OvertakenError:
        return None
    path.unlink()
    return entry
