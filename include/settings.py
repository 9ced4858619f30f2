"""Where a deployment's parts are: read once from the environment, then passed on as a frozen value."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from include.errors import SettingsError

PREFIX = "NIGHTSHIFT_"

# Set by the operator for every step and read by the step runner, not settings of a deployment.
PROCESS_VARIABLES = frozenset({"RUN", "TERMINATION_LOG", "CODE_REVISION"})


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
    spark_master: str = "local[*]"
    spark_packages: str = ""
    replay: bool = False
    """Answer days after the sample data's end with the same weekday of 2013, so that tonight always has data."""

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
        raise SettingsError(f"{name}: {first['msg']}") from None
