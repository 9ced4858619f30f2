"""How a pod ended, the same for a container on a cluster and for a process on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from kubernetes.client.models import V1Pod

from include.errors import ExitCode
from include.termination import one_line


class Signalled(IntEnum):
    """Exit codes by which a runtime reports a container that a signal ended."""

    KILLED = 137
    TERMINATED = 143


class EndingReason(StrEnum):
    """Why a pod was ended from outside, in Kubernetes' words."""

    DEADLINE = "DeadlineExceeded"
    OUT_OF_MEMORY = "OOMKilled"


@dataclass(frozen=True)
class Ending:
    """A pod's end: exit code (None: its container never ran to an end), termination message, and any outside reason."""

    exit_code: int | None
    message: str = ""
    reason: str = ""
    detail: str = ""

    @classmethod
    def of_pod(cls, pod: V1Pod, container: str) -> Ending:
        """The end according to the cluster's status of a pod."""
        status = pod.status
        states = [entry.state for entry in status.container_statuses or [] if entry.name == container]
        ended = next((state.terminated for state in states if state and state.terminated), None)
        if ended is None:
            return cls(None, reason=status.reason or "", detail=status.message or "")
        reason = EndingReason.OUT_OF_MEMORY if ended.reason == EndingReason.OUT_OF_MEMORY else status.reason
        return cls(ended.exit_code, ended.message or "", reason or "", status.message or "")

    @property
    def succeeded(self) -> bool:
        """Whether the step did its work."""
        return self.exit_code == ExitCode.DONE and not self.reason

    def result(self) -> dict[str, Any]:
        """The step's result; the exception that its failure means to Airflow."""
        if not self.succeeded:
            raise self.failure()
        if not self.message.strip():
            return {}
        try:
            value = json.loads(self.message)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise AirflowException(f"the step ended well but its result is not a JSON object: {self.message[:200]!r}")
        return value

    def failure(self) -> AirflowException:
        """Bad data, code or settings are never retried, nothing to do is skipped, everything else is retried."""
        if self.exit_code == ExitCode.SKIPPED:
            return AirflowSkipException(self.text)
        if self.exit_code in [code for code in ExitCode if code.final]:
            return AirflowFailException(self.text)
        return AirflowException(self.text)

    @property
    def text(self) -> str:
        """One line: the step's own words if there are any, else what is known from outside."""
        if self.reason == EndingReason.OUT_OF_MEMORY:
            return "out of memory (OOMKilled): give the step a higher memory limit in include/step_specs.py"
        if self.reason:
            return one_line(f"{self.reason}: {self.detail or self.message or 'the cluster ended the pod'}")
        if self.message.strip():
            return one_line(self.message)
        if self.exit_code is None:
            return "the pod ended before its container had run; see its events"
        if self.exit_code in tuple(Signalled):
            return f"killed from outside (exit code {self.exit_code}) before it could say why"
        return f"exit code {self.exit_code} without a word; its log says more"
