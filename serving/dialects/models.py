"""What dialects ask: the models that answer now, by the names of their use cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from formats.portable_model import Found
from formats.request_rows import RequestModel
from serving.errors import NotFoundError, NotReadyError
from serving.rollout.served import Served
from serving.rollout.service import Service


class Answering(Protocol):
    """One use case: what is in service for it, and its answers."""

    @property
    def served(self) -> Served:
        """What is in service; `NotReadyError` that says why nothing is."""

    def answer(
        self, key: str | bytes, ask: Callable[[RequestModel], Found], asked: bytes = b""
    ) -> tuple[Served, Found]:
        """The result of `ask` with the model picked for `key`, and that model."""


class Models(Protocol):
    """The use cases of this server."""

    def names(self) -> list[str]:
        """Those that are answered now, in order."""

    def of(self, use_case: str) -> Answering:
        """The one of that name; `NotFoundError` names what there is."""

    def only(self) -> Answering:
        """The one there is; an error names them when there are several, or says why there is none."""


class OneModel:
    """The models of a server of one use case."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def names(self) -> list[str]:
        """Its use case, if it is answered now."""
        try:
            return [self._service.served.entry.use_case]
        except NotReadyError:
            return []

    def of(self, use_case: str) -> Answering:
        """The one of that name; `NotFoundError` names what there is, `NotReadyError` says why nothing is."""
        there = self._service.served.entry.use_case
        if use_case != there:
            raise NotFoundError(f"there is no model of that name; this server has {there}")
        return self._service

    def only(self) -> Answering:
        """The one there is."""
        return self._service
