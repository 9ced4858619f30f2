"""Errors of a model file or of rows for it, each as one line for the caller."""

from __future__ import annotations


class ServingError(Exception):
    """One clear line, and the HTTP status it is answered with; `retry_after` seconds go into a header of that name."""

    status = 500
    retry_after: int | None = None


class ModelError(ServingError):
    """A model file is unusable: wrong hash, truncated, foreign, or it fails its self-test."""

    status = 422


class AnswerError(ServingError):
    """A loaded model gave no probability."""


class RowError(ServingError):
    """A row of a prediction request does not fit the model."""

    status = 422
