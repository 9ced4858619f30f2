"""Errors of serving, each as one line for the caller."""

from __future__ import annotations

from formats.portable_model import ServingError


class FetchError(ServingError):
    """A model file could not be fetched from its address."""

    status = 424


class OtherUseCaseError(ServingError):
    """A model of another use case than the one in service."""

    status = 409


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


class UnderWayError(ServingError):
    """Another rollout is running."""

    status = 409


class BehindError(ServingError):
    """This worker does not serve its server's version, so it cannot compare another one with it."""

    status = 503
    retry_after = 1


class StateError(ServingError):
    """The state folder cannot be written."""

    status = 507


class TrialError(ServingError):
    """The version on trial cannot continue, for a reason other than its answers."""

    status = 424


class UnacknowledgedError(TrialError):
    """A worker did not confirm in time that it has loaded a version."""

    status = 503


class EndedError(ServingError):
    """A rollout was ended by someone else, so that its driver has nothing left to do."""

    status = 409


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
