"""A port in use is refused before anything starts, in one line that says what to do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from include.errors import SettingsError
from local.ports import is_free, require_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_named_with_its_holder_and_the_setting_to_change(taken: int) -> None:
    with pytest.raises(SettingsError) as caught:
        require_free("127.0.0.1", taken, service="MLflow", variable="NIGHTSHIFT_MLFLOW_PORT")
    line = str(caught.value)
    assert f"MLflow: port {taken} on 127.0.0.1 is in use" in line
    assert f"(process {os.getpid()})" in line
    assert f"NIGHTSHIFT_MLFLOW_PORT={taken + 1}" in line


def test_a_port_that_was_just_given_up_is_free(taken: int) -> None:
    with socket.create_connection(("127.0.0.1", taken)):
        pass
    assert not is_free("127.0.0.1", taken)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    assert is_free("127.0.0.1", port)
