"""Errors of serving, each as one line for the caller."""

from __future__ import annotations

from formats.portable_model import ServingError


class FetchError(ServingError):
    """A store cannot be read now: that of the model files, of the releases, or the lake."""

    status = 503


class NotReadyError(ServingError):
    """No model is in service."""

    status = 503


class QuestionError(ServingError):
    """Parameters that do not go together."""

    status = 422


class MediaTypeError(ServingError):
    """A body of a kind that the path does not take."""

    status = 415


class NotFoundError(ServingError):
    """Nothing is known about the key."""

    status = 404


class NotYetError(ServingError):
    """There is no answer yet; there may be one after `retry_after` seconds."""

    status = 503

    def __init__(self, line: str, retry_after: int) -> None:
        super().__init__(line)
        self.retry_after = retry_after


class UpstreamError(ServingError):
    """An upstream gave no answer that can be used."""

    status = 503
    retry_after = 1


class KeysError(ServingError):
    """The file of API keys is malformed, or does not allow the request."""


class OverloadError(ServingError):
    """Too much work is waiting."""

    status = 503
    retry_after = 1


class DrainingError(ServingError):
    """This process is stopping and accepts no new work."""

    status = 503


class SlowError(ServingError):
    """An answer took too long."""

    status = 504
