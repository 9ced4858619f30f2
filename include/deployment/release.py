"""A release by a step: the conductor of a deployment, and the models that it compares."""

from __future__ import annotations

from formats.portable_model import ModelError
from formats.request_rows import RequestModel
from include.deployment.conductor import Conductor
from include.deployment.fleet import Fleet
from include.deployment.pulse import Pulse
from include.deployment.writer import ReleaseWriter
from include.errors import DataError, LakeError
from include.settings import Settings
from include.storage.lake import Lake


def open_conductor(settings: Settings, writer: ReleaseWriter) -> Conductor:
    """The conductor that the settings of a deployment make."""
    pulse = Pulse(writer.log)
    fleet = Fleet(writer.log, seconds=settings.release_seconds, quorum=settings.release_quorum, pause=pulse.pause)
    return Conductor(writer, fleet, pulse)


def released_model(lake: Lake, version: str, sha256: str, use_case: str) -> RequestModel:
    """A version's model, as a replica will load it; `DataError` when it cannot be served."""
    name = f"models/{sha256}.onnx"
    try:
        model = RequestModel.load(lake.get(name), sha256=sha256, name=f"of version {version}")
        model.self_test()
    except FileNotFoundError:
        raise LakeError(f"lake: {name} is gone; restore it, or register its night again") from None
    except ModelError as error:
        raise DataError(str(error)) from None
    if model.description.use_case != use_case:
        raise DataError(
            f"model file of version {version} is of use case {model.description.use_case!r}, not {use_case!r}"
        )
    return model
