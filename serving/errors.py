"""What can go wrong in serving, each as one line for the person who asked."""

from __future__ import annotations


class ServingError(Exception):
    """One clear line, and the HTTP status it is answered with."""

    status = 500


class ModelError(ServingError):
    """A model file is not what it should be: wrong hash, truncated, foreign, or it fails its self-test."""

    status = 422


class AnswerError(ServingError):
    """A loaded model gave no probability for what it was asked."""


class FetchError(ServingError):
    """A model file could not be had from where it should lie."""

    status = 424


class RowError(ServingError):
    """A row of a prediction request is not what the model takes."""

    status = 422


class OtherUseCaseError(ServingError):
    """A model of another use case than the one in service."""

    status = 409


class NotReadyError(ServingError):
    """No model is in service."""

    status = 503
