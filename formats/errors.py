"""What can be wrong with a model file or with rows for it, each as one line for the person who asked."""

from __future__ import annotations


class ServingError(Exception):
    """One clear line, and the HTTP status it is answered with; `retry_after` seconds go into a header of that name."""

    status = 500
    retry_after: int | None = None


class ModelError(ServingError):
    """A model file is not what it should be: wrong hash, truncated, foreign, or it fails its self-test."""

    status = 422


class AnswerError(ServingError):
    """A loaded model gave no probability for what it was asked."""


class RowError(ServingError):
    """A row of a prediction request is not what the model takes."""

    status = 422
