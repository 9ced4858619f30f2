from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.access.caller import Caller, Scope
from serving.access.keys import KeyFile, KeyRing
from serving.errors import KeysError
from tests.serving_process import ROOT
from tests.waiting import PATIENCE

PREDICT = frozenset({Scope.PREDICT})
NOW = datetime.now(UTC).timestamp() + 6 * 3600  # after any key that the tests make, however long they run
"""Soon: after all that the tests here do."""
DAY = 86_400.0


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def ring(file: KeyFile) -> KeyRing:
    found = KeyRing(file.path)
    found.look(NOW)
    return found


def whose(keys: KeyRing, key: str, at: float) -> Caller | None:
    return keys.caller(key.encode(), at)


def key_id(key: str) -> str:
    return key.split("_")[1]


def test_a_key_is_its_callers_and_no_other_is(file: KeyFile) -> None:
    app = file.new("app", PREDICT)
    ops = file.new("ops", frozenset(Scope), rate=5)

    keys = ring(file)

    assert whose(keys, app, NOW + 1) == Caller("app", PREDICT)
    assert whose(keys, ops, NOW + 1) == Caller("ops", PREDICT, 5)
    for wrong in (app[:-1], app + "x", app.replace("ns_", "xx_"), f"ns_{key_id(app)}_", "ns__", "", f"{app[:16]}é"):
        assert whose(keys, wrong, NOW + 1) is None
    mixed = f"ns_{key_id(app)}_{ops.split('_', 2)[2]}"
    assert whose(keys, mixed, NOW + 1) is None


def test_the_file_holds_no_secret_and_is_for_its_owner_only(file: KeyFile) -> None:
    secret = file.new("app", PREDICT).split("_", 2)[2]

    assert secret not in file.path.read_text()
    assert file.path.stat().st_mode & 0o077 == 0


def test_two_equal_secrets_would_not_look_equal(file: KeyFile) -> None:
    file.new("app", PREDICT)
    file.new("other", PREDICT)

    first, second = json.loads(file.path.read_text())

    assert first["salt"] != second["salt"]


def test_a_key_ends_when_it_should(file: KeyFile) -> None:
    key = file.new("app", PREDICT, days=30)
    keys = ring(file)

    assert whose(keys, key, NOW - DAY) is None
    assert whose(keys, key, NOW + 29 * DAY) is not None
    assert whose(keys, key, NOW + 31 * DAY) is None


def test_a_new_key_leaves_the_old_one_some_time(file: KeyFile) -> None:
    old = file.new("app", PREDICT)
    new = file.new("app", PREDICT, overlap=timedelta(days=7))
    keys = ring(file)

    assert whose(keys, old, NOW + 6 * DAY) == whose(keys, new, NOW + 6 * DAY) == Caller("app", PREDICT)
    assert whose(keys, old, NOW + 8 * DAY) is None
    assert whose(keys, new, NOW + 400 * DAY) is not None


def test_a_third_key_of_one_name_is_refused_until_one_is_revoked(file: KeyFile) -> None:
    old, new = file.new("app", PREDICT), file.new("app", PREDICT)

    with pytest.raises(KeysError, match=f"app has 2 valid keys; revoke one first: {key_id(old)}, {key_id(new)}"):
        file.new("app", PREDICT)

    file.revoke(key_id(old))
    third = file.new("app", PREDICT)
    keys = ring(file)
    assert whose(keys, old, NOW + 2) is None
    assert whose(keys, third, NOW + 2) is not None


def test_a_change_of_the_file_is_noticed_within_a_second(file: KeyFile) -> None:
    keys = ring(file)
    key = file.new("app", PREDICT)

    keys.look(NOW + 0.5)
    assert whose(keys, key, NOW + 1) is None
    keys.look(NOW + 1)
    assert whose(keys, key, NOW + 1) is not None

    file.revoke(key_id(key))
    keys.look(NOW + 2)
    assert whose(keys, key, NOW + 3) is None


def test_a_file_that_is_damaged_later_leaves_the_keys_of_before(file: KeyFile) -> None:
    key = file.new("app", PREDICT)
    keys = ring(file)

    file.path.write_text('[{"id": 3}]')
    keys.look(NOW + 2)

    assert whose(keys, key, NOW + 2) is not None
    assert keys.refused.startswith(f"{file.path}: not a file of API keys (")

    file.path.unlink()
    keys.look(NOW + 4)
    assert whose(keys, key, NOW + 4) is None
    assert keys.refused == ""


@pytest.mark.parametrize("content", ["{", "[{}]", '[{"id": "a", "more": 1}]', "\xff"])
def test_a_damaged_file_is_told_in_one_line(file: KeyFile, content: str) -> None:
    file.path.write_bytes(content.encode("latin-1"))

    with pytest.raises(KeysError) as told:
        file.read()

    assert str(told.value).startswith(f"{file.path}: not a file of API keys (")
    assert "\n" not in str(told.value)


def command(file: KeyFile, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.access.keys", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SERVING_KEYS": str(file.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.stack
def test_the_command_makes_lists_and_revokes_keys(file: KeyFile) -> None:
    made = command(file, "new", "app", "--scope", "predict", "--days", "30")
    key = made.stdout.strip()
    listed = command(file, "list").stdout
    revoked = command(file, "revoke", key_id(key))

    assert whose(ring(file), key, NOW - 1) is None
    assert made.stdout == f"{key}\n"
    assert "not shown again" in made.stderr
    assert listed.startswith(f"{key_id(key)}  app  predict  valid  until ")
    assert key.split("_", 2)[2] not in listed
    assert revoked.stdout == f"key {key_id(key)} of app is revoked; servers notice within a second\n"
    assert "  past  " in command(file, "list").stdout


@pytest.mark.stack
def test_the_command_says_in_one_line_what_is_wrong(file: KeyFile) -> None:
    unknown = command(file, "revoke", "abc")

    assert unknown.returncode == 1
    assert unknown.stderr == f"{file.path}: no key abc; see `python -m serving.access.keys list`\n"
