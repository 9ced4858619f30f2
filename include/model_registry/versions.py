"""The model registry: the versions, what each has seen, which are approved, and which is champion.

A version's facts are tags on an MLflow model version, so MLflow's own pages show them. Nothing here uses stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from zlib import crc32

from include.database.address import libpq_url
from include.errors import DataError, FaultError
from include.masking import masked
from include.model_registry.tracking import open_client, reported
from include.modelling.recipe import Recipe
from include.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROMOTED_BY = "promoted_by"
"""A version's tag: the name of the person who moved `champion` to it, if that person says so."""

_DECIDED = "decided_champion"  # the registered model's tag: where a step last moved, or would have moved, the alias
_PAGE = 1_000
_LOCK_SECONDS = 60
_DESCRIPTION_LIMIT = 5_000


class Alias(StrEnum):
    """Names that move from version to version."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class Role(StrEnum):
    """Why a version was made.

    `nightly` is a night's winner fitted through data day D. `backtest` is the first night's winner fitted up to its
    judging window, so that there is a version that has not seen D.
    """

    NIGHTLY = "nightly"
    BACKTEST = "backtest"


@dataclass(frozen=True)
class Draft:
    """A version to be registered.

    `run_key` names the night, candidate and file, so that a retry meets its own version. `day` is the data day whose
    run makes it. `artifact` is the MLflow model's name in its run. `facts` become further tags.
    """

    run_key: str
    day: date
    trained_through: date
    candidate: str
    recipe: Recipe
    role: Role
    approved: bool
    model_uri: str
    sha256: str
    mlflow_run: str
    artifact: str = "model"
    description: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """A registered model version; it has seen nothing later than data day `trained_through`."""

    version: str
    run_key: str
    day: date
    trained_through: date
    candidate: str
    recipe: Recipe
    role: Role
    approved: bool
    model_uri: str
    sha256: str
    rejected: str | None = None
    """The reason of its rejection, if it was taken out of service."""
    promoted_by: str | None = None
    """Who moved `champion` to it by hand, if that person wrote a name on it."""

    @property
    def age(self) -> tuple[date, int]:
        """Sorts versions by what they have seen, then by number."""
        return self.trained_through, int(self.version)


class Registry:
    """The versions of one use case."""

    def __init__(self, client: MlflowClient, name: str, settings: Settings) -> None:
        self.client = client
        self.name = name
        self.settings = settings
        self.url = settings.require("tracking_url")

    @classmethod
    def open(cls, settings: Settings, use_case: str) -> Registry:
        """The registry of a use case; `FaultError` when MLflow does not answer."""
        return cls(open_client(settings), use_case, settings)

    # Reading

    def versions(self) -> list[Version]:
        """All versions, oldest knowledge first."""
        found: list[Any] = []
        token: str | None = None
        with reported(self.url):
            while True:
                page = self.client.search_model_versions(
                    f"name='{self.name}'", max_results=_PAGE, order_by=["version_number ASC"], page_token=token
                )
                found += page
                token = page.token
                if not token:
                    break
        return sorted((_version(entry) for entry in found if "run_key" in entry.tags), key=lambda version: version.age)

    def newest_before(self, day: date) -> Version | None:
        """The approved version that has seen the most, but nothing of data day `day` or later.

        A champion that a person chose goes before it, if it has seen nothing of that day either.
        """
        return self._in_force([version for version in self.versions() if version.trained_through < day])

    def reigning_before(self, day: date) -> Version | None:
        """The champion that the run of a data day finds: `newest_before`, without what that run made."""
        return self._in_force([v for v in self.versions() if v.trained_through < day and v.day != day])

    def champion(self) -> Version | None:
        """The version in force; `DataError` when the alias names one that no night has registered."""
        return self._named(Alias.CHAMPION)

    def hand_picked(self) -> Version | None:
        """The champion, if a person has moved the alias in MLflow to it; it stays until a person moves it again.

        The nights take over again when the alias names their own choice, or is deleted.
        """
        champion, number = self.champion(), self._model()[1].get(_DECIDED)
        decided = next((version for version in self.versions() if version.version == number), None)
        if champion is None or decided is None or champion == decided:
            return None
        # A step that is killed between moving the alias and noting it leaves the same, but only in these two ways.
        rolled_back, promoted = decided.rejected, champion.approved and champion.age > decided.age
        return None if rolled_back or promoted else champion

    def aliases(self) -> dict[str, str]:
        """Which version each alias names."""
        return self._model()[0]

    # Writing

    def register(self, draft: Draft) -> Version:
        """Register a version, or return the existing one of the same night, candidate and file.

        If the night was decided again, differently, that version follows; unless it was rejected since.
        """
        if existing := self._with_key(draft.run_key):
            return self._decided(existing[0], draft)
        self._ensure_model()
        with reported(self.url):
            self.client.create_model_version(
                self.name,
                f"runs:/{draft.mlflow_run}/{draft.artifact}",
                run_id=draft.mlflow_run,
                tags=_tags(draft, self.name),
                description=draft.description[:_DESCRIPTION_LIMIT],
                await_creation_for=0,
            )
            first, *doubles = self._with_key(draft.run_key)
            # Two runs without a common lock may both get here: all agree on the lowest number.
            for double in doubles:
                self._delete(double)
        return first

    def _decided(self, version: Version, draft: Draft) -> Version:
        """A version as its night's decision has it now."""
        if version.approved == draft.approved or version.rejected is not None:
            return version
        self.tag(version, {**draft.facts, "approved": str(draft.approved).lower()})
        with reported(self.url):
            self.client.update_model_version(self.name, version.version, draft.description[:_DESCRIPTION_LIMIT])
        return replace(version, approved=draft.approved)

    def withdraw(self, version: Version) -> None:
        """If the champion is no longer approved, make the newest approved version champion; a person's choice stays."""
        present, others = self.champion(), [one for one in self.versions() if one.approved]
        if present is not None and present.version == version.version and others and self.hand_picked() is None:
            self.set_alias(Alias.CHAMPION, others[-1])

    def advance(self, alias: Alias, version: Version) -> None:
        """Let an alias name the version, unless it was rejected or the alias names one that has seen later days.

        A champion that a person chose stays; this version is noted as what the night would have.
        """
        if version.rejected is not None:
            return
        if alias is Alias.CHAMPION and self.hand_picked() is not None:
            self._note(version)
            return
        present = self._named(alias)
        if present is None or present.trained_through <= version.trained_through:
            self.set_alias(alias, version)

    def set_alias(self, alias: Alias, version: Version) -> None:
        """Let an alias name a version."""
        with reported(self.url):
            self.client.set_registered_model_alias(self.name, str(alias), version.version)
        if alias is Alias.CHAMPION:
            self._note(version)

    def reject(self, version: Version, reason: str) -> None:
        """Reject a version for good: it is no longer approved and holds the reason. Aliases stay."""
        with reported(self.url):
            self.client.set_model_version_tag(self.name, version.version, "rejected", reason)
            self.client.set_model_version_tag(self.name, version.version, "approved", "false")

    def readmit(self, version: Version) -> None:
        """Take a rejection back: a person put the version into service again."""
        with reported(self.url):
            self.client.set_model_version_tag(self.name, version.version, "approved", "true")
            if version.rejected is not None:
                self.client.delete_model_version_tag(self.name, version.version, "rejected")

    def tag(self, version: Version, facts: Mapping[str, str]) -> None:
        """Write further facts on a version."""
        with reported(self.url):
            for name, value in facts.items():
                self.client.set_model_version_tag(self.name, version.version, name, value)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time per use case, by an advisory lock in the deployment's PostgreSQL where one is set."""
        if self.settings.database_url is None:
            yield
            return
        import psycopg

        url = self.settings.require("database_url")
        try:
            connection = psycopg.connect(libpq_url(url), connect_timeout=5, autocommit=True)
            with connection:
                connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
                connection.execute("SELECT pg_advisory_lock(%s)", [crc32(f"nightshift/{self.name}".encode())])
                yield
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise FaultError(
                f"PostgreSQL at {masked(url)}: {reason}; is it up (`make up`), or another run stuck?"
            ) from error

    def _in_force(self, able: Sequence[Version]) -> Version | None:
        chosen = self.hand_picked()
        return chosen if chosen in able else next((one for one in reversed(able) if one.approved), None)

    def _named(self, alias: Alias) -> Version | None:
        number = self.aliases().get(alias)
        found = next((version for version in self.versions() if version.version == number), None)
        if number is not None and found is None:
            raise DataError(
                f"MLflow's alias {alias} of {self.name} names version {number}, which no night has registered; "
                "move it to one that has the tag run_key"
            )
        return found

    def _model(self) -> tuple[dict[str, str], dict[str, str]]:
        """The aliases and tags of the registered model."""
        from mlflow.exceptions import MlflowException

        with reported(self.url):
            try:
                found = self.client.get_registered_model(self.name)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}, {}
                raise
        return {alias: str(number) for alias, number in found.aliases.items()}, dict(found.tags)

    def _note(self, version: Version) -> None:
        with reported(self.url):
            self.client.set_registered_model_tag(self.name, _DECIDED, version.version)

    def _with_key(self, run_key: str) -> list[Version]:
        same = [version for version in self.versions() if version.run_key == run_key]
        return sorted(same, key=lambda version: int(version.version))

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        with reported(self.url):
            try:
                self.client.create_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def _delete(self, version: Version) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.delete_model_version(self.name, version.version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def _tags(draft: Draft, use_case: str) -> dict[str, str]:
    return {
        **draft.facts,
        "use_case": use_case,
        "run_key": draft.run_key,
        "night": draft.day.isoformat(),
        "trained_through": draft.trained_through.isoformat(),
        "candidate": draft.candidate,
        "recipe": draft.recipe.to_json(),
        "role": str(draft.role),
        "approved": str(draft.approved).lower(),
        "model_uri": draft.model_uri,
        "sha256": draft.sha256,
    }


def _version(entry: Any) -> Version:
    tags = entry.tags
    return Version(
        version=str(entry.version),
        run_key=tags["run_key"],
        day=date.fromisoformat(tags["night"]),
        trained_through=date.fromisoformat(tags["trained_through"]),
        candidate=tags["candidate"],
        recipe=Recipe.from_json(tags["recipe"]),
        role=Role(tags["role"]),
        approved=tags["approved"] == "true",
        model_uri=tags["model_uri"],
        sha256=tags["sha256"],
        rejected=tags.get("rejected"),
        promoted_by=tags.get(PROMOTED_BY),
    )
