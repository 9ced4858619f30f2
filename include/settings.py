"""Where a deployment's parts are: read once from the environment, then passed on as a frozen value.

All `NIGHTSHIFT_*` variables are fields of the models below. The pods' variables, the check for unknown names and
docs/reference/settings.md are made from them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from formats.names import not_a_setting
from formats.variables import VariableError, VariablesModel, unknown_variable
from include.errors import SettingsError
from include.loopback import reach_directly
from include.packages import default_use_cases
from include.step_specs import VERSION, Image, PodRuntime

PREFIX = "NIGHTSHIFT_"
SPARK_JARS = {"gs": "com.google.cloud.bigdataoss:gcs-connector", "az": "org.apache.hadoop:hadoop-azure"}
"""What Spark's workers read a bucket with, where Spark itself does not find it by the version of its Hadoop."""


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


class NightshiftVariables(VariablesModel):
    """Settings that are `NIGHTSHIFT_*` variables."""

    PREFIX: ClassVar[str] = PREFIX

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """The settings of an environment; a wrong value is a `SettingsError` that names the variable."""
        try:
            return cls.read(environment)
        except VariableError as error:
            raise SettingsError(f"{error.variable}={error.value}: {error.reason}") from None


class Settings(NightshiftVariables):
    """A deployment, as its steps see it: each field is a variable of every pod, and secrets are passed by reference."""

    lake: str = ".nightshift/lake"
    """Where the data is: a folder (absolute, or relative to the working directory), `file://…`, `s3://bucket/prefix`,
    `gs://…` or `az://…`."""
    s3_endpoint: str | None = None
    """An S3-compatible store, such as MinIO; none: AWS."""
    artifacts: str = ".nightshift/mlflow"
    """Where MLflow keeps plots and reports: a folder or `s3://…`."""
    database_url: SecretStr | None = None
    """PostgreSQL of the tables; none: embedded, on this machine."""
    tracking_url: SecretStr | None = None
    """MLflow: a database or a server's address; none: embedded, on this machine."""
    spark_master: str = "local[*]"
    """Where Spark runs: `local[*]`, `spark://…` or `k8s://…`."""
    spark_packages: str = ""
    """Jars by Maven coordinates, such as those for S3."""
    releases: str | None = None
    """The folder or bucket of what is to be served, which every server follows: who may write it may deploy; none:
    `_serving` in the lake."""
    release_seconds: float = Field(30.0, gt=0)
    """How long servers may take to load a version before its release is given up."""
    release_quorum: float = Field(0.5, gt=0, le=1)
    """The share of the servers that must have loaded it by then; those that say nothing do not count."""
    serving_url: str = "http://127.0.0.1:8890"
    """The service that `smoke_test` asks; `make up` sets the address of its own."""
    airflow_url: str = "http://127.0.0.1:8080"
    """Airflow, as a browser finds it: where MLflow's pages link to; empty: no links. `make up` sets the address of its
    own."""
    serving_token: SecretStr | None = None
    """A credential for a server that asks for one; none: it is asked without."""
    rollout_share: float | None = Field(None, ge=0, le=1)
    """Share of the requests that a new version answers before it is promoted (0: none); none: the use case's plan."""
    rollout_watch_seconds: float | None = Field(None, ge=0)
    """How long it is watched meanwhile, where there are requests; none: the use case's plan."""
    replay: bool = False
    """The same weekday of 2013 stands in for a day after the sample's end, so that tonight always has data. For the
    sample it is on under `make up`, unless it is set."""
    replay_weeks: int | None = Field(None, ge=0)
    """Move every day of the sample by this many weeks; none: as many years of 52 weeks as `replay` needs."""
    records: Records = Records.FILES
    """Where `extract` reads a data day's records: the use case's `files`, or the `tables` that workers fill."""
    table_days: int | None = Field(None, ge=1)
    """Daily partitions older than this are dropped from the tables; none: they are kept."""
    superseded_days: int = Field(7, ge=1)
    """Files of the lake that a forced run replaced are deleted this many days later."""
    broker: str = ".nightshift/landing"
    """Where topics are: a folder, `file://…` or `s3://…` to land in, or `kafka://host:port,…`."""
    landing_days: int | None = Field(None, ge=1)
    """Segments that were landed longer ago than this, and that every group has read, are deleted; none: kept."""
    kafka_security: KafkaSecurity = KafkaSecurity.PLAINTEXT
    """How to connect to Kafka: `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`."""
    kafka_mechanism: KafkaMechanism = KafkaMechanism.SCRAM_SHA_512
    """How the user is authenticated: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`."""
    kafka_username: str | None = None
    """The user, where `sasl_…` asks for one."""
    kafka_password: SecretStr | None = None
    """The user's password."""
    kafka_ca: str | None = None
    """A PEM file: the authority that signed the brokers' certificates; none: the system's."""
    kafka_certificate: str | None = None
    """A PEM file: the client's own certificate."""
    kafka_key: str | None = None
    """A PEM file: the key of the client's certificate."""

    @model_validator(mode="after")
    def _workers_can_read_the_lake(self) -> Self:
        jar = SPARK_JARS.get(self.lake.partition("://")[0])
        if jar and not self.spark_is_local and not self.spark_packages:
            raise ValueError(
                f"NIGHTSHIFT_LAKE {self.lake}: NIGHTSHIFT_SPARK_MASTER's workers read it only with the jar of {jar}; "
                "name its version in NIGHTSHIFT_SPARK_PACKAGES, or leave the master local[*]"
            )
        return self

    @property
    def releases_folder(self) -> str:
        """The address of the releases folder."""
        return self.releases or f"{self.lake.rstrip('/')}/_serving"

    @property
    def spark_is_local(self) -> bool:
        """Whether Spark runs on this machine alone."""
        return self.spark_master.startswith("local")

    def require(self, name: str) -> str:
        """The value of a required setting, or a `SettingsError` that names its variable."""
        value = getattr(self, name)
        if value is None:
            raise SettingsError(
                f"{self.variable(name)} is not set: give it, or start the embedded stack with `make up`"
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


class StackSettings(NightshiftVariables):
    """The services that `make up` runs on one machine. A PostgreSQL that is not given is the embedded one."""

    use_cases: str = Field(default_factory=default_use_cases)
    """Use cases, separated by commas: packages, folders or entry points; none: each folder of `include/use_cases`."""
    host: str = "127.0.0.1"
    """The address that `make up` listens on."""
    airflow_port: int = Field(8080, ge=1, le=65535)
    """Port of the Airflow UI."""
    mlflow_port: int = Field(5000, ge=1, le=65535)
    """Port of the MLflow UI."""
    serving_port: int = Field(8890, ge=1, le=65535)
    """Port of the serving API."""
    postgres_port: int = Field(5433, ge=1, le=65535)
    """Port of the embedded PostgreSQL."""
    airflow_database_url: SecretStr | None = None
    """PostgreSQL of Airflow; none: embedded, on this machine."""
    # Steps need these three too: Settings describes them.
    database_url: SecretStr | None = None
    tracking_url: SecretStr | None = None
    serving_token: SecretStr | None = None


class OperatorSettings(NightshiftVariables):
    """What only the pod operator reads: where steps run, and from which images."""

    pod_runtime: PodRuntime = PodRuntime.KUBERNETES
    """Where steps run: `process` (this machine, as airflow_settings.yaml says) or `kubernetes`."""
    namespace: str = "nightshift"
    """The namespace of the pods."""
    step_image: str = f"nightshift/{Image.STEP}:{VERSION}"
    """The image of the steps that need no Spark."""
    spark_image: str = f"nightshift/{Image.SPARK}:{VERSION}"
    """The image of the steps that run Spark."""
    secrets_dir: str = ".nightshift/secrets"
    """Where the process runtime reads a pod's secrets, as `<secret>/<key>` files."""


class RunVariables(NightshiftVariables):
    """Set for every step by the operator and the image, not by a person."""

    run: str | None = None
    """The task instance: `<dag>/<run>/<task>`."""
    termination_log: str | None = None
    """The file of the result or the error; none: /dev/termination-log."""
    code_revision: str | None = None
    """The commit that the image was built from."""


MODELS: tuple[type[NightshiftVariables], ...] = (Settings, StackSettings, OperatorSettings, RunVariables)
KNOWN = frozenset(field for model in MODELS for field in model.model_fields)
"""Every name that follows `NIGHTSHIFT_` in a variable that somebody reads."""
PLAIN = tuple(name for name in Settings.model_fields if name not in Settings.secret_fields())
"""The settings that each pod is given openly, by the Airflow Variable of the same name."""
SECRETS: Mapping[str, str] = {Settings.variable(name): name.replace("_", "-") for name in Settings.secret_fields()} | {
    "AWS_ACCESS_KEY_ID": "aws-access-key-id",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-access-key",
    "AWS_SESSION_TOKEN": "aws-session-token",
    "AWS_DEFAULT_REGION": "aws-default-region",
}
"""Environment variable → key of the Secret; each may be absent, a step that needs it says so."""


def is_secret(name: str) -> bool:
    """Whether a setting's value is secret."""
    return any(name in model.secret_fields() for model in MODELS)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `NIGHTSHIFT_*` variables, of this process by default; a variable that nobody reads is refused.

    The stack's and the operator's own variables may be in a step's environment too, as in a user's shell.
    """
    source = os.environ if environment is None else environment
    refuse_unknown_variables(source)
    if environment is None:
        reach_directly(source.get(f"{PREFIX}HOST", ""))
    return Settings.load(source)


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Refuse unknown `NIGHTSHIFT_*` variables, so that a typo cannot go unnoticed."""
    known = [variable for model in MODELS for variable in model.variables()]
    if name := unknown_variable(environment, PREFIX, known):
        raise unknown_setting(name, known)


def unknown_setting(name: str, known: Iterable[str]) -> SettingsError:
    """The error that names an unknown setting and the one that was probably meant."""
    return SettingsError(not_a_setting(name, known, "README.md"))
