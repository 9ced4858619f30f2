"""Settings as environment variables, for the pipeline and for serving: models name them, and nothing else is taken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

_SERVICE_LINK = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PORT|PROTO|ADDR))?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")


class VariableError(ValueError):
    """A variable's value is wrong: its name (empty if several are to blame), the value, and why."""

    def __init__(self, variable: str, value: object, reason: str) -> None:
        super().__init__(f"{variable}: {reason}" if variable else reason)
        self.variable = variable
        self.value = value
        self.reason = reason


class VariablesModel(BaseModel):
    """Settings whose fields are the environment variables `<PREFIX><FIELD>`; the docs say what their docstrings say."""

    PREFIX: ClassVar[str]

    # Built when it is first read: DAG files need the names only, at each parse.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    def variable(cls, field: str) -> str:
        """The name of a field's variable."""
        return f"{cls.PREFIX}{field.upper()}"

    @classmethod
    def variables(cls) -> list[str]:
        """The names of all fields' variables, in order."""
        return [cls.variable(field) for field in cls.model_fields]

    @classmethod
    def secret_fields(cls) -> list[str]:
        """The fields whose values nobody is shown."""
        annotations = {name: field.annotation for name, field in cls.model_fields.items()}
        return [name for name, kind in annotations.items() if SecretStr in (kind, *get_args(kind))]

    @classmethod
    def read(cls, environment: Mapping[str, str], **given: Any) -> Self:
        """The settings of an environment, under those that are `given`.

        An empty variable counts as unset, and so does what Kubernetes sets for a Service. A wrong value raises
        `VariableError`.
        """
        found = {field: environment.get(cls.variable(field), "") for field in cls.model_fields}
        values = {name: text for name, text in found.items() if text and not is_service_link(cls.variable(name), text)}
        try:
            return cls.model_validate(values | given)
        except ValidationError as error:
            first = error.errors()[0]
            variable = cls.variable(str(first["loc"][0])) if first["loc"] else ""
            raise VariableError(variable, first["input"], first["msg"].removeprefix("Value error, ")) from None


def unknown_variable(environment: Mapping[str, str], prefix: str, known: Iterable[str]) -> str | None:
    """The first variable with the prefix, in any case, that nothing reads.

    What Kubernetes sets for a Service of such a name is left alone.
    """
    others = sorted(environment.keys() - set(known))
    return next(
        (name for name in others if name.upper().startswith(prefix) and not is_service_link(name, environment[name])),
        None,
    )


def is_service_link(name: str, value: str) -> bool:
    """Whether it is what Kubernetes sets for a Service, such as `SERVING_PORT=tcp://…` for one named `serving`."""
    address = name.endswith("_PORT") and _SERVICE_ADDRESS.fullmatch(value)
    return bool(address or _SERVICE_LINK.fullmatch(name))
