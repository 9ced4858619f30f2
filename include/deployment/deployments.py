"""What was served when: the history of a use case's deployments, and what it says about the next one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from include.database.tables import Deployment, DeploymentReason, DeploymentState, Tables
from include.report import RUN
from include.settings import Settings

BY_HAND = "by hand"


@dataclass(frozen=True)
class Target:
    """A version's model file, as a deployment names it."""

    version: str
    model_uri: str
    sha256: str
    trained_through: date

    @classmethod
    def of(cls, deployment: Deployment) -> Target:
        """What a deployment put into service."""
        return cls(deployment.version, deployment.model_uri, deployment.sha256, deployment.trained_through)


class DeploymentHistory:
    """The deployments of one use case; `actor` is the task instance that acts, or a person."""

    def __init__(self, tables: Tables, use_case: str, actor: str = BY_HAND) -> None:
        self.tables = tables
        self.use_case = use_case
        self.actor = actor

    @classmethod
    def open(cls, settings: Settings, use_case: str) -> DeploymentHistory:
        """The history, written in the name of this process's run; `FaultError` when PostgreSQL does not answer."""
        return cls(Tables.open(settings), use_case, os.environ.get(RUN, BY_HAND))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time may change what this use case serves."""
        with self.tables.locked(f"nightshift/deployments/{self.use_case}"):
            yield

    # Reading

    def all(self) -> list[Deployment]:
        """Every deployment, newest first."""
        with self.tables.session() as session:
            return list(session.scalars(self._mine().order_by(Deployment.id.desc())))

    def current(self) -> Deployment | None:
        """The deployment that is in service, by this history."""
        return next((one for one in self.all() if one.state is DeploymentState.SERVING), None)

    def previous(self) -> Deployment | None:
        """The newest deployment of another version that served well: it was replaced, not failed nor rolled back."""
        serving = self.current()
        latest: dict[str, Deployment] = {}
        for one in self.all():
            if one.state not in (DeploymentState.STARTED, DeploymentState.REFUSED, DeploymentState.INTERRUPTED):
                latest.setdefault(one.version, one)
        fit = [one for one in latest.values() if one.state is DeploymentState.REPLACED]
        return next((one for one in fit if serving is None or one.version != serving.version), None)

    def served(self, version: str) -> Deployment | None:
        """The newest deployment that had a version in service, if only on trial."""
        never = (DeploymentState.STARTED, DeploymentState.REFUSED, DeploymentState.INTERRUPTED)
        return next((one for one in self.all() if one.version == version and one.state not in never), None)

    def mine(self, reason: DeploymentReason) -> Deployment | None:
        """What this task instance put into service on an earlier attempt, if it still serves."""
        serving = self.current()
        if self.actor == BY_HAND or serving is None:
            return None
        return serving if (serving.actor, serving.reason) == (self.actor, reason) else None

    def find(self, number: int | None) -> Deployment | None:
        """The deployment of that id."""
        return next((one for one in self.all() if one.id == number), None)

    # Writing

    def begin(self, target: Target, reason: DeploymentReason, detail: str | None = None) -> Deployment:
        """Note that a version is about to be put into service, and who said so; attempts without an end were killed."""
        serving = self.current()
        now = datetime.now(UTC)
        with self.tables.session() as session:
            self._end(session, DeploymentState.STARTED, DeploymentState.INTERRUPTED, now)
            deployment = Deployment(
                use_case=self.use_case,
                version=target.version,
                model_uri=target.model_uri,
                sha256=target.sha256,
                trained_through=target.trained_through,
                reason=reason,
                state=DeploymentState.STARTED,
                started_at=now,
                actor=self.actor,
                replaces=serving.id if serving else None,
                detail=detail,
            )
            session.add(deployment)
        return deployment

    def confirm(
        self, deployment: Deployment, *, ended: DeploymentState = DeploymentState.REPLACED, detail: str | None = None
    ) -> None:
        """Note that it serves now; what served before ended so, and why."""
        with self.tables.session() as session:
            self._end(session, DeploymentState.SERVING, ended, datetime.now(UTC), detail)
            session.execute(_row(deployment).values(state=DeploymentState.SERVING))

    def rolled_out(self, deployment: Deployment, rollout: Mapping[str, Any]) -> None:
        """Note the figures of its rollout."""
        with self.tables.session() as session:
            session.execute(_row(deployment).values(rollout=dict(rollout)))

    def end(self, deployment: Deployment, state: DeploymentState, detail: str) -> None:
        """Note how and why a deployment ended, with nothing put in its place."""
        with self.tables.session() as session:
            session.execute(_row(deployment).values(state=state, detail=detail, ended_at=datetime.now(UTC)))

    def passed(self, deployment: Deployment, smoke: Mapping[str, Any]) -> None:
        """Note the figures of a smoke test that it passed."""
        with self.tables.session() as session:
            session.execute(_row(deployment).values(smoke=dict(smoke)))

    def _mine(self) -> Any:
        return select(Deployment).where(Deployment.use_case == self.use_case)

    def _end(
        self, session: Session, state: DeploymentState, ended: DeploymentState, now: datetime, detail: str | None = None
    ) -> None:
        rows = update(Deployment).where(Deployment.use_case == self.use_case, Deployment.state == state)
        session.execute(rows.values(state=ended, ended_at=now, detail=func.coalesce(detail, Deployment.detail)))


def _row(deployment: Deployment) -> Any:
    return update(Deployment).where(Deployment.id == deployment.id)
