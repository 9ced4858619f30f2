"""Where the stack is, and how its secrets are kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from include.errors import SettingsError
from include.settings import SECRETS
from local.services import open_services
from local.stack import REPOSITORY, keep_secret, load_stack


def test_everything_is_on_this_machine_only_unless_told_otherwise() -> None:
    stack = load_stack({})
    assert stack.host == "127.0.0.1"
    assert stack.embeds_postgres


def test_servers_bound_to_every_address_are_reached_on_the_loopback_one() -> None:
    assert load_stack({"NIGHTSHIFT_HOST": "0.0.0.0", "NIGHTSHIFT_AIRFLOW_PORT": "9000"}).url(9000) == (
        "http://127.0.0.1:9000"
    )


@pytest.mark.parametrize(("host", "reached"), [("::1", "[::1]"), ("::", "[::1]"), ("192.0.2.1", "192.0.2.1")])
def test_an_address_is_written_as_urls_have_it(host: str, reached: str) -> None:
    assert load_stack({"NIGHTSHIFT_HOST": host}).url(8890) == f"http://{reached}:8890"


def test_a_wrong_port_is_named() -> None:
    with pytest.raises(SettingsError, match="NIGHTSHIFT_MLFLOW_PORT=many"):
        load_stack({"NIGHTSHIFT_MLFLOW_PORT": "many"})


def test_nothing_is_embedded_when_every_database_is_given() -> None:
    url = "postgresql://me@db/x"
    names = ("DATABASE_URL", "TRACKING_URL", "AIRFLOW_DATABASE_URL")
    assert not load_stack({f"NIGHTSHIFT_{name}": url for name in names}).embeds_postgres
    assert load_stack({f"NIGHTSHIFT_{name}": url for name in names[:2]}).embeds_postgres


def test_a_secret_is_made_once_kept_private_and_replaced_when_given(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "token"
    made = keep_secret(path)
    assert len(made) >= 24
    assert keep_secret(path) == made
    assert path.stat().st_mode & 0o077 == 0
    assert keep_secret(path, "mine") == "mine"
    assert keep_secret(path) == "mine"
    assert path.stat().st_mode & 0o077 == 0


def test_what_the_caller_exports_is_what_steps_are_told_by_reference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given the S3 keys as docs/operating.md exports them, and an address for each database
    for name, key in SECRETS.items():
        monkeypatch.setenv(name, f"postgresql://{key}" if name.startswith("NIGHTSHIFT_") else key)
    stack = load_stack().model_copy(update={"root": tmp_path})
    shutil.copy(REPOSITORY / "airflow_settings.yaml", tmp_path)
    # When the stack is opened
    open_services(stack)
    # Then a step's process finds each where the runtime looks it up
    assert {path.name for path in stack.secrets.iterdir()} == set(SECRETS.values())
    assert (stack.secrets / "aws-secret-access-key").read_text() == "aws-secret-access-key"
