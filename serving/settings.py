"""A server's settings, as `SERVING_*` environment variables name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from formats.names import not_a_setting
from formats.variables import VariableError, VariablesModel, unknown_variable
from serving.access.caller import Algorithm
from serving.model_file import MODEL_BYTES
from serving.use_case_part import own_settings
from stores.store import split

Package = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]


class ServingSettings(VariablesModel):
    """Where the server listens, whose releases it follows, and who may ask it."""

    PREFIX: ClassVar[str] = "SERVING_"

    host: str = "127.0.0.1"
    """The address that the server listens on."""
    port: int = Field(default=8890, ge=0, le=65535)
    """The port that it listens on; 0: any free one."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the port; with more than one, a parent process watches over them."""
    releases: str | None = None
    """The folder or bucket whose releases it follows; none: `_serving` in the lake."""
    use_cases: tuple[str, ...] = ()
    """The use cases that it answers for, separated by commas; none: all that have releases, new ones too."""
    poll_seconds: float = Field(default=2.0, gt=0)
    """How often it looks for a release, of each use case; every second at least while one is under way."""
    stale_seconds: float | None = Field(default=None, gt=0)
    """It looks before it answers if the last look is older; for platforms that stop a process between requests."""
    state: Path = Path(".nightshift/serving")
    """The only folder on this machine that the server writes to: what it would serve while the releases are away."""
    s3_endpoint: str | None = None
    """An S3-compatible store, such as MinIO; none: AWS."""
    model_bytes: int = MODEL_BYTES
    """The largest model file that is fetched."""
    load_seconds: float = Field(default=30.0, gt=0)
    """How long a model file may take to load, before that is an error."""

    # Access

    keys: Path | None = None
    """A file of API keys (`python -m serving.access.keys new`); once set, each request needs a credential."""
    jwks_url: str | None = Field(default=None, pattern=r"^https?://")
    """Where an identity provider publishes its keys; once set, its tokens are credentials too."""
    jwt_issuer: str | None = None
    """What a token's `iss` must be."""
    jwt_audience: str | None = None
    """What a token's `aud` must name."""
    jwt_algorithms: tuple[Algorithm, ...] = (Algorithm.RS256, Algorithm.ES256)
    """Signatures that are accepted, separated by commas."""

    # Limits, of each worker process

    rate: float | None = Field(default=None, gt=0)
    """Requests a second each caller may make on average, by default; none: no limit. A key may have its own."""
    refusals: float = Field(default=5.0, gt=0)
    """Wrong or missing credentials a second that an address may show on average; beyond that the answer is 429."""
    rate_burst_seconds: float = Field(default=2.0, gt=0)
    """A caller that was quiet may make this many seconds' worth of requests at once."""
    body_bytes: int = Field(default=4 * 2**20, gt=0)
    """The largest body that is read: 1,000 rows of 100 inputs have room."""
    head_seconds: float = Field(default=10.0, gt=0)
    """How long a client may take to send a request's head."""
    head_bytes: int = Field(default=32_768, gt=0)
    """The largest head that is read."""
    body_seconds: float = Field(default=10.0, gt=0)
    """How long a client may take to send a body."""
    request_seconds: float = Field(default=10.0, gt=0)
    """How long an answer may take once the request is read; then it is 504."""
    keep_alive_seconds: float = Field(default=75.0, gt=0)
    """How long an idle connection is kept: longer than a proxy in front (60 s usually) keeps its side."""
    connections: int = Field(default=2_000, gt=0)
    """Connections held at once; further ones may ask for /healthz and /readyz, and otherwise get 503."""
    connections_per_address: int = Field(default=1_000, gt=0)
    """Connections of one address, of those; raise it to `connections` where a proxy in front has all of them."""
    in_flight: int = Field(default=512, gt=0)
    """Requests worked on at once, waiting for an upstream included; further ones get 503 at once."""
    queue: int = Field(default=128, ge=0)
    """Large predictions that may wait for their turn; further ones get 503 at once."""
    drain_seconds: float = Field(default=10.0, gt=0)
    """How long requests under way have to end when the server stops."""

    # Published predictions

    lake: str | None = None
    """Where batch predictions are published: a folder or a bucket (`s3://…`, `gs://…`, `az://…`); none: nowhere."""
    routes: tuple[Package, ...] = ()
    """Packages of use cases' own routes, such as `include.use_cases.yours.serving`, separated by commas."""
    published_days: int = Field(default=7, ge=1, le=400)
    """How many of the newest published days are held in memory (about 2 MB a day of 1,000 predictions)."""
    published_poll_seconds: float = Field(default=5.0, gt=0)
    """How often the lake is read."""

    # Telemetry

    access_log: bool = True
    """Whether each request is a line in the log."""
    sample_share: float = Field(default=0.1, ge=0, le=1)
    """The share of answered requests whose rows are kept in the lake's `samples/`; nothing is kept without a lake."""
    sample_rows_per_second: float = Field(default=100, gt=0)
    """At most this many rows are picked to be kept, on average (by each worker), at any load."""
    sample_seconds: float = Field(default=60, gt=0)
    """A file of samples is published when its first row is so old, or when it has 4 MiB."""
    otlp_endpoint: str | None = None
    """An OpenTelemetry collector, such as `http://collector:4318`; none: tracing is off and not even imported."""
    trace_share: float = Field(default=1.0, ge=0, le=1)
    """The share of the traces beginning here that is recorded; a caller's own decision is followed."""

    @classmethod
    def load(cls, environment: Mapping[str, str], **given: Any) -> Self:
        """The settings of an environment, under those that are `given`; those of the use case's routes are checked.

        A wrong value and an unknown name raise `VariableError`, whose one line holds no value: it may be a secret.
        """
        settings = cls.read(environment, **given)
        if not (settings.lake or settings.releases):
            raise VariableError("", None, "there is nothing to follow: set SERVING_RELEASES, or SERVING_LAKE")
        own = [model for package in settings.routes if (model := own_settings(package))]
        known = [*cls.variables(), *(name for model in own for name in model.variables())]
        if name := unknown_variable(environment, cls.PREFIX, known):
            raise VariableError("", None, not_a_setting(name, known, "docs/reference/settings.md"))
        for model in own:
            model.read(environment)
        return settings

    @property
    def releases_folder(self) -> str:
        """The address of the releases folder."""
        return self.releases or f"{(self.lake or '').rstrip('/')}/_serving"

    @property
    def secured(self) -> bool:
        """Whether every request needs a credential."""
        return self.keys is not None or self.jwks_url is not None

    @field_validator("jwt_algorithms", "use_cases", "routes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("lake", "releases")
    @classmethod
    def _is_store(cls, value: str | None) -> str | None:
        if value is not None:
            split(value)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.jwks_url and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError("SERVING_JWKS_URL needs SERVING_JWT_ISSUER and SERVING_JWT_AUDIENCE")
        return self
