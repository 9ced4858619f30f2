"""A deployment's settings: read once from the environment, then passed on as a frozen value.

The one list of all `NIGHTSHIFT_*` variables is here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from include.errors import SettingsError
from include.loopback import reach_directly
from include.use_case import DEFAULT_USE_CASES

PREFIX = "NIGHTSHIFT_"

OF_THE_RUNNER = frozenset({"run", "termination_log", "code_revision"})
"""Set by the operator for every step and read by the step runner, not settings of a deployment."""
OF_THE_OPERATOR = frozenset({"pod_runtime", "namespace", "step_image", "spark_image", "secrets_dir"})
"""What only the pod operator reads."""


class Records(StrEnum):
    """Where `extract` reads a data day's records."""

    FILES = "files"
    TABLES = "tables"


class KafkaSecurity(StrEnum):
    """How to connect to a Kafka cluster (the client's `security.protocol`)."""

    PLAINTEXT = "plaintext"
    SSL = "ssl"
    SASL_PLAINTEXT = "sasl_plaintext"
    SASL_SSL = "sasl_ssl"

    @property
    def sasl(self) -> bool:
        """Whether it asks for a user."""
        return self in (KafkaSecurity.SASL_PLAINTEXT, KafkaSecurity.SASL_SSL)

    @property
    def tls(self) -> bool:
        """Whether it is encrypted."""
        return self in (KafkaSecurity.SSL, KafkaSecurity.SASL_SSL)


class KafkaMechanism(StrEnum):
    """How a user logs in."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Settings(BaseModel):
    """A deployment, as `NIGHTSHIFT_*` environment variables name it.

    `lake` is a folder (absolute, or relative to the working directory), `file://…` or `s3://…`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = ".nightshift/lake"
    s3_endpoint: str | None = None
    database_url: SecretStr | None = None
    tracking_url: SecretStr | None = None
    artifacts: str = ".nightshift/mlflow"
    serving_url: str = "http://127.0.0.1:8890"
    serving_token: SecretStr | None = None
    rollout_share: float | None = Field(None, ge=0, le=1)
    """Share of the requests that a new version answers before it is promoted (0: none); none: the use case's plan."""
    rollout_watch_seconds: float | None = Field(None, ge=0)
    """How long it is watched meanwhile, if there are requests; none: the use case's plan."""
    spark_master: str = "local[*]"
    spark_packages: str = ""
    replay: bool = False
    """The same weekday of 2013 stands in for days after the sample data's end, so that tonight always has data."""
    replay_weeks: int | None = Field(None, ge=0)
    """Move every day of the sample data by this many weeks; none: as many years of 52 weeks as `replay` needs."""
    broker: str = ".nightshift/landing"
    """Where topics live: a folder, `file://…` or `s3://…` to land in, or `kafka://host:port,…`."""
    kafka_security: KafkaSecurity = KafkaSecurity.PLAINTEXT
    kafka_mechanism: KafkaMechanism = KafkaMechanism.SCRAM_SHA_512
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca: str | None = None
    kafka_certificate: str | None = None
    kafka_key: str | None = None
    """Paths of PEM files: the authority that signed the brokers, and the client's own certificate and key."""
    landing_days: int | None = Field(None, ge=1)
    """Segments that were landed longer ago than this, and that every group has read, are deleted; none: kept."""
    records: Records = Records.FILES
    table_days: int | None = Field(None, ge=1)
    """Daily partitions older than this are dropped from the tables; none: they are kept."""

    @property
    def spark_is_local(self) -> bool:
        """Whether Spark runs on this machine alone."""
        return self.spark_master.startswith("local")

    def require(self, name: str) -> str:
        """The value of a required setting, or a `SettingsError` that names its variable."""
        value = getattr(self, name)
        if value is None:
            raise SettingsError(
                f"{PREFIX}{name.upper()} is not set: give it, or start the embedded stack with `make up`"
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


class StackSettings(BaseModel):
    """The embedded stack of one machine, as `NIGHTSHIFT_*` environment variables name it.

    `database_url` (tables), `tracking_url` (MLflow) and `airflow_database_url` name a real PostgreSQL each; those that
    are not given are in the embedded one.
    """

    model_config = ConfigDict(frozen=True)

    host: str = "127.0.0.1"
    airflow_port: int = Field(8080, ge=1, le=65535)
    mlflow_port: int = Field(5000, ge=1, le=65535)
    serving_port: int = Field(8890, ge=1, le=65535)
    postgres_port: int = Field(5433, ge=1, le=65535)
    use_cases: str = DEFAULT_USE_CASES
    database_url: SecretStr | None = None
    tracking_url: SecretStr | None = None
    airflow_database_url: SecretStr | None = None
    serving_token: SecretStr | None = None


KNOWN = OF_THE_RUNNER | OF_THE_OPERATOR | set(Settings.model_fields) | set(StackSettings.model_fields)
"""Every name that follows `NIGHTSHIFT_` in a variable that somebody reads."""


def is_secret(name: str) -> bool:
    """Whether a setting's value is secret."""
    fields = {**Settings.model_fields, **StackSettings.model_fields}
    return name in fields and "Secret" in str(fields[name].annotation)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `NIGHTSHIFT_*` variables, of this process by default; a variable that nobody reads is refused.

    The stack's and the operator's own variables may be in a step's environment too, as in a user's shell.
    """
    source = os.environ if environment is None else environment
    refuse_unknown_variables(source)
    if environment is None:
        reach_directly(source.get(f"{PREFIX}HOST", ""))
    return read_variables(Settings, source)


M = TypeVar("M", bound=BaseModel)


def read_variables(model: type[M], environment: Mapping[str, str]) -> M:
    """A model from the variables that are named as its fields; an empty one counts as unset, a wrong one is refused."""
    given = {name: environment.get(f"{PREFIX}{name.upper()}", "") for name in model.model_fields}
    try:
        return model.model_validate({name: value for name, value in given.items() if value})
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{PREFIX}{str(first['loc'][0]).upper()}={first['input']}: {first['msg']}") from None


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Refuse unknown `NIGHTSHIFT_*` variables, so that a typo cannot go unnoticed."""
    known = {f"{PREFIX}{name.upper()}" for name in KNOWN}
    for name in sorted(name for name in environment if name.startswith(PREFIX) and name not in known):
        raise SettingsError(f"{name} is not a setting{likely(name, known)}")


def likely(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the one that was probably meant."""
    from difflib import get_close_matches

    close = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; README.md lists them all"
