"""Where a deployment's parts are: read once from the environment, then passed on as a frozen value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from include.errors import SettingsError

PREFIX = "NIGHTSHIFT_"

# Set by the operator for every step and read by the step runner, not settings of a deployment.
PROCESS_VARIABLES = frozenset({"RUN", "TERMINATION_LOG", "CODE_REVISION"})


class Records(StrEnum):
    """Where `extract` reads a data day's records."""

    FILES = "files"
    TABLES = "tables"


class KafkaSecurity(StrEnum):
    """How a Kafka cluster is spoken to (the client's `security.protocol`)."""

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
    """How a user shows who it is."""

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
    """How long it is watched meanwhile, where there are requests; none: the use case's plan."""
    spark_master: str = "local[*]"
    spark_packages: str = ""
    replay: bool = False
    """Answer days after the sample data's end with the same weekday of 2013, so that tonight always has data."""
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

    def require(self, name: str) -> str:
        """The value of a setting this step cannot do without, or a `SettingsError` that names its variable."""
        value = getattr(self, name)
        if value is None:
            raise SettingsError(
                f"{PREFIX}{name.upper()} is not set: give it, or start the embedded stack with `make up`"
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `NIGHTSHIFT_*` variables; an unknown one is refused by name."""
    source = os.environ if environment is None else environment
    named = {key.removeprefix(PREFIX): value for key, value in source.items() if key.startswith(PREFIX) and value != ""}
    fields = {key.lower(): value for key, value in named.items() if key not in PROCESS_VARIABLES}
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{str(first['loc'][0]).upper()}"
        given = f"={first['input']}" if first["type"] != "extra_forbidden" else ""
        raise SettingsError(f"{name}{given}: {first['msg']}") from None
