"""The serving API, as steps call it: what is served, and a prediction."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from include.errors import DataError, FaultError, SettingsError
from include.settings import Settings

ATTEMPTS = 4
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 60

_NOTHING_SERVED = (404, 503)
_WRONG_SETTINGS = (401, 403)
_REFUSED = 422


@dataclass(frozen=True)
class ServedModel:
    """The model in service."""

    version: str
    sha256: str
    since: str


@dataclass(frozen=True)
class Answer:
    """What the service predicted, as its task's answer (formats/answers), and by which version."""

    version: str
    body: dict[str, Any]


class ServingApi:
    """The servers of one use case, behind one address; a call without an answer is tried `ATTEMPTS` times."""

    def __init__(self, url: str, token: str | None, use_case: str) -> None:
        self.url = url.rstrip("/")
        self.use_case = use_case
        self._token = token
        self._path = f"/v1/models/{quote(use_case, safe='')}"

    @classmethod
    def open(cls, settings: Settings, use_case: str) -> ServingApi:
        """The servers that the settings name, for one use case."""
        url, token = settings.serving_url, settings.serving_token
        if not re.match(r"https?://[^/]", url):
            raise SettingsError(f"NIGHTSHIFT_SERVING_URL {url!r} is no http address; write https://{url}")
        return cls(url, token.get_secret_value() if token else None, use_case)

    def served(self) -> ServedModel | None:
        """What is in service; None when nothing is."""
        status, body = self._call("GET", self._path)
        if status in _NOTHING_SERVED:
            return None
        body = self._checked(status, body)
        try:
            return ServedModel(body["version"], body["sha256"], body["since"])
        except (KeyError, TypeError):
            raise self._strange() from None

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Answer:
        """Ask the model in service; `DataError` when it refuses the rows."""
        body = self._checked(*self._call("POST", f"{self._path}/predict", {"rows": list(rows)}))
        try:
            return Answer(str(body["model_version"]), dict(body))
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
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self._token}"} if self._token else {}),
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
