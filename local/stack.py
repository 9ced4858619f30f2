"""Where the embedded stack keeps its state, and which addresses and secrets it uses."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from include.errors import SettingsError
from include.packages import python_path
from include.settings import StackSettings
from stores.file import write_whole

REPOSITORY = Path(__file__).resolve().parents[1]


class Stack(StackSettings):
    """The embedded stack of this checkout. All state is under `state`."""

    root: Path = REPOSITORY

    @property
    def state(self) -> Path:
        """The one folder that holds everything a run makes."""
        return self.root / ".nightshift"

    @property
    def logs(self) -> Path:
        """The folder of the long-lived processes' logs."""
        return self.state / "logs"

    @property
    def secrets(self) -> Path:
        """The folder that stands in for the Kubernetes Secret `nightshift`."""
        return self.state / "secrets" / "nightshift"

    @property
    def python_path(self) -> str:
        """Where Python finds the project and its use cases."""
        return python_path(self.root, self.use_cases)

    @property
    def embeds_postgres(self) -> bool:
        """Whether any of the databases is in the embedded PostgreSQL."""
        return None in (self.database_url, self.tracking_url, self.airflow_database_url)

    def url(self, port: int) -> str:
        """The address of one of our servers, as this machine reaches it."""
        host = self.reachable_host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def reachable_host(self) -> str:
        """A host to call our servers by; one that listens on every address answers on the loopback one of its kind."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        return everywhere.get(self.host, self.host)


def load_stack(environment: Mapping[str, str] | None = None) -> Stack:
    """The stack that `NIGHTSHIFT_*` variables describe; a wrong value is refused by name."""
    source = os.environ if environment is None else environment
    return Stack.model_validate(dict(StackSettings.load(source)))


def keep_private(folder: Path) -> None:
    """Make a folder accessible to its owner only: logs, predictions and databases are private."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be made this user's own: {error.strerror}; run as its owner") from None


def _random_secret() -> str:
    return secrets.token_urlsafe(24)


def keep_secret(path: Path, value: str | None = None, *, make: Callable[[], str] = _random_secret) -> str:
    """The secret kept in a file only its owner can read: `value` if given, else the one there, else a new one."""
    if path.exists():
        kept = path.read_text(encoding="utf-8")
        if value is None or value == kept:
            return kept
    value = value or make()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, value.encode(), mode=0o600)
    return value
