"""A release by a step: the conductor of a deployment, and the models that it compares."""

from __future__ import annotations

from formats.portable_model import ModelError
from formats.release import InService
from formats.request_rows import RequestModel
from include.deployment.conductor import Conductor
from include.deployment.fleet import Fleet
from include.deployment.pulse import Pulse
from include.deployment.writer import ReleaseWriter
from include.errors import DataError
from include.modelling.scoring import model_bytes
from include.settings import Settings
from include.storage.lake import Lake


def open_conductor(settings: Settings, writer: ReleaseWriter) -> Conductor:
    """The conductor that the settings of a deployment make."""
    pulse = Pulse(writer.log)
    fleet = Fleet(writer.log, seconds=settings.release_seconds, quorum=settings.release_quorum, pause=pulse.pause)
    return Conductor(writer, fleet, pulse)


def released_model(lake: Lake, entry: InService) -> RequestModel:
    """A version's model, as a replica will load it; `DataError` when it cannot be served."""
    try:
        content = model_bytes(lake, entry.sha256)
        model = RequestModel.load(content, sha256=entry.sha256, name=f"of version {entry.version}")
        model.require_fit(entry.use_case)
    except ModelError as error:
        raise DataError(str(error)) from None
    return model
