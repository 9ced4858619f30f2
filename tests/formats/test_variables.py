"""Settings as environment variables: what is read, what is refused, and what a platform sets by itself."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from formats.variables import VariableError, VariablesModel, unknown_variable


class _Server(VariablesModel):
    PREFIX: ClassVar[str] = "SERVING_"
    port: int = 8890
    token: SecretStr | None = None
    password: SecretStr = SecretStr("")


def links(service: str, ports: list[tuple[str, int, str]]) -> dict[str, str]:
    """What a kubelet sets for a Service (kubernetes/pkg/kubelet/envvars): its first port is the one without a name."""
    name = service.upper().replace("-", "_")
    found = {f"{name}_SERVICE_HOST": "10.0.0.7", f"{name}_SERVICE_PORT": str(ports[0][1])}
    found[f"{name}_PORT"] = f"{ports[0][2].lower()}://10.0.0.7:{ports[0][1]}"
    for port_name, number, protocol in ports:
        if port_name:
            found[f"{name}_SERVICE_PORT_{port_name.upper().replace('-', '_')}"] = str(number)
        stem = f"{name}_PORT_{number}_{protocol}"
        found |= {stem: f"{protocol.lower()}://10.0.0.7:{number}", f"{stem}_PROTO": protocol.lower()}
        found |= {f"{stem}_PORT": str(number), f"{stem}_ADDR": "10.0.0.7"}
    return found


@given(
    st.from_regex(r"serving(-[a-z0-9]{1,8}){0,2}", fullmatch=True),
    st.lists(
        st.tuples(
            st.sampled_from(["", "http", "metrics", "web-2"]),
            st.integers(1, 65535),
            st.sampled_from(["TCP", "UDP", "SCTP"]),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_kubernetes_sets_for_any_service_is_left_alone(service: str, ports: list[tuple[str, int, str]]) -> None:
    environment = links(service, ports)
    assert unknown_variable(environment, "SERVING_", _Server.variables()) is None
    assert _Server.read(environment) == _Server()


@given(st.from_regex(r"(SERVING|serving|Serving)_[A-Z][A-Z_]{0,12}", fullmatch=True), st.text())
def test_a_name_that_no_field_has_is_found_whatever_it_holds(name: str, value: str) -> None:
    found = unknown_variable({"HOME": "/", name: value}, "SERVING_", _Server.variables())
    ours = name in _Server.variables()
    link = name.upper().endswith(("_SERVICE_HOST", "_SERVICE_PORT")) or (name.endswith("_PORT") and "://" in value)
    assert ours or link or found == name
    assert not ours or found is None


def test_an_empty_variable_counts_as_unset_and_what_is_given_wins() -> None:
    assert _Server.read({"SERVING_PORT": ""}).port == 8890
    assert _Server.read({"SERVING_PORT": "1"}, port=2).port == 2


def test_a_wrong_value_is_named_without_being_repeated() -> None:
    with pytest.raises(VariableError, match=r"^SERVING_PORT: Input should be a valid integer") as caught:
        _Server.read({"SERVING_PORT": "hush"})
    assert "hush" not in str(caught.value)
    assert caught.value.variable == "SERVING_PORT"


def test_secrets_are_known_by_their_type() -> None:
    assert _Server.secret_fields() == ["token", "password"]
