"""The serving API, as steps call it: what is served, a deployment, a prediction."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from formats.rollout_plan import NEXT, Phase, Plan
from include.deployment.deployments import Target
from include.errors import DataError, FaultError, SettingsError
from include.settings import Settings

ATTEMPTS = 4
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 60

POLL_SECONDS = 0.1
GRACE_SECONDS = 60
"""How much longer than planned a rollout may take, for loading in every worker on a busy machine."""

_CURRENT = "/v1/deployments/current"
_BEGUN = 202
_BUSY = (429, 503)
_UNDER_WAY = 409
_NOTHING_SERVED = 503
_WRONG_SETTINGS = (401, 403, 409)
_REFUSED = 422


@dataclass(frozen=True)
class ServedModel:
    """The model in service."""

    version: str
    sha256: str
    uri: str
    use_case: str
    since: str
    trained_through: date | None


@dataclass(frozen=True)
class RolloutOutcome:
    """The state or end of a rollout: its phase, the reason, and the figures."""

    id: str
    version: str
    sha256: str
    phase: Phase
    reason: str
    metrics: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What the history keeps of it."""
        return {"phase": str(self.phase), "reason": self.reason, "metrics": self.metrics}


@dataclass(frozen=True)
class Answer:
    """What the service predicted, as its task's answer (formats/answers), and by which version."""

    version: str
    body: dict[str, Any]


class ServingApi:
    """One serving server; a call without an answer is tried `ATTEMPTS` times."""

    def __init__(self, url: str, token: str, use_case: str) -> None:
        self.url = url.rstrip("/")
        self.use_case = use_case
        self._token = token

    @classmethod
    def open(cls, settings: Settings, use_case: str) -> ServingApi:
        """The server that the settings name, for one use case."""
        url = settings.serving_url
        if not re.match(r"https?://[^/]", url):
            raise SettingsError(f"NIGHTSHIFT_SERVING_URL {url!r} is no http address; write https://{url}")
        return cls(url, settings.require("serving_token"), use_case)

    def served(self) -> ServedModel | None:
        """What is in service; None when nothing is. `SettingsError` when it is another use case's model."""
        status, body = self._call("GET", "/v1/model")
        if status == _NOTHING_SERVED:
            return None
        served = self._served(status, body)
        if served.use_case != self.use_case:
            raise SettingsError(
                f"serving at {self.url} serves use case {served.use_case!r}; start another server for "
                f"{self.use_case!r} and name it in NIGHTSHIFT_SERVING_URL"
            )
        return served

    def deploy(self, target: Target, by: str = "") -> ServedModel:
        """Put a model file into service at once.

        Raises `DataError` when the server refuses the file, `SettingsError` when it refuses us, `FaultError` when it
        could not try. In each case the old version stays in service.
        """
        return self._served(*self._call("POST", "/admin/deployments", self._wish(target, by)))

    def roll_out(
        self, target: Target, plan: Plan, rows: Sequence[Mapping[str, Any]], by: str = ""
    ) -> RolloutOutcome | None:
        """Roll a version out, and wait for the end: promoted, or rolled back; None if it serves immediately.

        Raises as `deploy` does, and `FaultError` when the rollout was cut short or another one is under way.
        """
        wish = self._wish(target, by) | {"rollout": plan.model_dump(), "rows": list(rows)}
        status, body = self._call("POST", "/admin/deployments", wish)
        if status == _UNDER_WAY and (other := self.rollout()) is not None and other.phase in NEXT:
            raise FaultError(f"serving at {self.url} is busy with the rollout of version {other.version}; try again")
        if status != _BEGUN:
            self._served(status, body)
            return None
        return self._ended(self._outcome(body), plan.shadow_seconds + plan.watch_seconds + GRACE_SECONDS)

    def rollout(self) -> RolloutOutcome | None:
        """The last rollout, under way or ended; None if there was none."""
        return self._last(self._checked(*self._call("GET", _CURRENT)))

    def withdraw(self) -> None:
        """Withdraw the model in service."""
        self._checked(*self._call("DELETE", "/admin/deployments"))

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Answer:
        """Ask the model in service; `DataError` when it refuses the rows."""
        body = self._checked(*self._call("POST", "/v1/predict", {"rows": list(rows)}))
        try:
            return Answer(str(body["model_version"]), dict(body))
        except (KeyError, TypeError, ValueError):
            raise self._strange() from None

    def _ended(self, begun: RolloutOutcome, seconds: float) -> RolloutOutcome:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status, body = self._call("GET", _CURRENT)
            if status not in _BUSY:
                found = self._last(self._checked(status, body))
                if found is None or found.id != begun.id:
                    raise FaultError(f"the rollout of version {begun.version} was ended by another deployment")
                if found.phase is Phase.ABORTED:
                    raise FaultError(f"the rollout of version {begun.version} was cut short: {found.reason}")
                if found.phase not in NEXT:
                    return found
            time.sleep(POLL_SECONDS)
        raise FaultError(f"the rollout of version {begun.version} did not end within {seconds:g} s")

    def _last(self, body: Any) -> RolloutOutcome | None:
        if not isinstance(body, dict) or "rollout" not in body:
            raise self._strange()
        return None if body["rollout"] is None else self._outcome(body["rollout"])

    def _wish(self, target: Target, by: str) -> dict[str, Any]:
        return {
            "model_uri": target.model_uri,
            "sha256": target.sha256,
            "version": target.version,
            "use_case": self.use_case,
            "by": by,
        }

    def _outcome(self, body: Any) -> RolloutOutcome:
        try:
            entry = body["entry"]
            phase = Phase(body["phase"])
            return RolloutOutcome(
                body["id"], entry["version"], entry["sha256"], phase, body["reason"], dict(body["metrics"])
            )
        except (KeyError, TypeError, ValueError):
            raise self._strange() from None

    def _served(self, status: int, body: Any) -> ServedModel:
        body = self._checked(status, body)
        try:
            seen = body["trained_through"]
            return ServedModel(
                version=body["version"],
                sha256=body["sha256"],
                uri=body["uri"],
                use_case=body["use_case"],
                since=body["since"],
                trained_through=None if seen is None else date.fromisoformat(seen),
            )
        except (KeyError, TypeError, ValueError):
            raise self._strange() from None

    def _checked(self, status: int, body: Any) -> Any:
        if status < 300:
            return body
        detail = body.get("detail") if isinstance(body, dict) else None
        line = f"serving at {self.url} answered {status}: {detail or 'no reason'}"
        if status in _WRONG_SETTINGS:
            raise SettingsError(f"{line}; see NIGHTSHIFT_SERVING_TOKEN and NIGHTSHIFT_SERVING_URL")
        raise DataError(line) if status == _REFUSED else FaultError(line)

    def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                if attempt == ATTEMPTS:
                    reason = getattr(error, "reason", None) or error
                    raise FaultError(
                        f"serving at {self.url} does not answer ({ATTEMPTS} tries): {reason}; "
                        "start it with `make up` or correct NIGHTSHIFT_SERVING_URL"
                    ) from error
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(  # noqa: S310 (the address is a setting)
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return answer.status, self._json(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, self._json(error.read())

    def _json(self, content: bytes) -> Any:
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise self._strange() from None

    def _strange(self) -> FaultError:
        return FaultError(f"{self.url} answers, but not as serving does; correct NIGHTSHIFT_SERVING_URL")
