"""The registry without a lock between its writers, and what a rejected version still is."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from include.errors import DataError
from include.model_registry.versions import Alias, Draft, Registry, Role
from include.modelling.recipe import Estimator, Recipe
from include.settings import Settings


@pytest.fixture
def registry(tmp_path: Path, empty_registry: Path) -> Registry:
    """A registry without versions."""
    path = shutil.copy(empty_registry, tmp_path / "mlflow.db")
    return Registry.open(Settings(tracking_url=f"sqlite:///{path}"), "flight_delay")


def draft(registry: Registry, through: date, **changed: Any) -> Draft:
    run = registry.client.create_run("0").info.run_id
    values: dict[str, Any] = {
        "run_key": f"{through}/trees/{changed.get('sha256', 'ab')}",
        "day": through,
        "trained_through": through,
        "candidate": "trees",
        "recipe": Recipe("trees", Estimator.HIST_GRADIENT_BOOSTING, ("hour",), {"max_iter": 5}),
        "role": Role.NIGHTLY,
        "approved": True,
        "model_uri": "file:///lake/models/ab.onnx",
        "sha256": "ab",
        "mlflow_run": run,
    }
    return Draft(**values | changed)


@pytest.mark.slow
def test_an_empty_registry_has_nobody(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.champion() is None
    assert registry.newest_before(date(2014, 1, 1)) is None


def test_a_version_comes_back_as_it_was_registered(registry: Registry) -> None:
    given = draft(registry, date(2013, 9, 30))

    version = registry.register(given)

    assert registry.versions() == [version]
    assert version.recipe == given.recipe
    assert (version.version, version.trained_through, version.approved) == ("1", date(2013, 9, 30), True)


def test_of_two_writers_without_a_lock_both_end_with_the_same_version(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given another run that registers the same model between our look and our write
    given = draft(registry, date(2013, 9, 30))
    create = registry.client.create_model_version

    def late(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(registry.client, "create_model_version", create)
        create(*arguments, **named)
        return create(*arguments, **named)

    monkeypatch.setattr(registry.client, "create_model_version", late)

    # When we register
    version = registry.register(given)

    # Then the one of them that came first is the only one
    assert registry.versions() == [version]
    assert version.version == "1"


def test_a_version_that_has_seen_the_day_does_not_predict_it(registry: Registry) -> None:
    seen = registry.register(draft(registry, date(2013, 9, 30)))
    older = registry.register(draft(registry, date(2013, 9, 16), role=Role.BACKTEST))

    assert registry.newest_before(date(2013, 10, 1)) == seen
    assert registry.newest_before(date(2013, 9, 30)) == older
    assert registry.newest_before(date(2013, 9, 16)) is None


@pytest.mark.slow
def test_unapproved_and_rejected_versions_predict_nothing(registry: Registry) -> None:
    good = registry.register(draft(registry, date(2013, 9, 28)))
    registry.register(draft(registry, date(2013, 9, 30), approved=False))
    bad = registry.register(draft(registry, date(2013, 9, 29)))
    registry.set_alias(Alias.CHAMPION, bad)

    registry.reject(bad, "wrong answers")

    assert registry.newest_before(date(2013, 10, 1)) == good
    assert registry.champion() is not None
    assert registry.champion().rejected == "wrong answers"  # type: ignore[union-attr]


def test_more_versions_than_fit_a_page_are_all_found(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.model_registry.versions._PAGE", 2)
    days = [date(2013, 9, day) for day in range(1, 6)]
    for day in days:
        registry.register(draft(registry, day))

    assert [version.trained_through for version in registry.versions()] == days


def test_an_alias_that_a_person_moved_stays_until_it_is_handed_back(registry: Registry) -> None:
    # Given two nights, and a person who moves the alias to the older version in MLflow
    first = registry.register(draft(registry, date(2013, 9, 1), sha256="a"))
    registry.advance(Alias.CHAMPION, first)
    second = registry.register(draft(registry, date(2013, 9, 2), sha256="b"))
    registry.advance(Alias.CHAMPION, second)
    assert registry.hand_picked() is None
    registry.client.set_registered_model_alias("flight_delay", "champion", first.version)

    # When the next night promotes its own
    third = registry.register(draft(registry, date(2013, 9, 3), sha256="c"))
    registry.advance(Alias.CHAMPION, third)

    # Then the person's word holds, for predictions and for the judgement too
    assert registry.champion() == registry.hand_picked() == first
    assert registry.newest_before(date(2013, 9, 4)) == registry.reigning_before(date(2013, 9, 4)) == first
    assert registry.newest_before(date(2013, 9, 1)) is None

    # And when the alias names the night's own choice again, the nights decide again
    registry.client.set_registered_model_alias("flight_delay", "champion", third.version)
    fourth = registry.register(draft(registry, date(2013, 9, 4), sha256="d"))
    registry.advance(Alias.CHAMPION, fourth)
    assert (registry.champion(), registry.hand_picked()) == (fourth, None)


def test_a_step_that_was_killed_before_it_noted_the_alias_is_no_person(registry: Registry) -> None:
    first = registry.register(draft(registry, date(2013, 9, 1), sha256="a"))
    registry.advance(Alias.CHAMPION, first)
    second = registry.register(draft(registry, date(2013, 9, 2), sha256="b"))

    # When a night is killed right after it has moved the alias
    registry.client.set_registered_model_alias("flight_delay", "champion", second.version)
    assert registry.hand_picked() is None
    registry.advance(Alias.CHAMPION, second)

    # And when a rollback is
    registry.reject(second, "answers are off")
    registry.client.set_registered_model_alias("flight_delay", "champion", first.version)
    assert registry.hand_picked() is None


def test_a_person_may_choose_what_the_gates_refused(registry: Registry) -> None:
    first = registry.register(draft(registry, date(2013, 9, 1), sha256="a"))
    registry.advance(Alias.CHAMPION, first)
    refused = registry.register(draft(registry, date(2013, 9, 2), sha256="b", approved=False))

    registry.client.set_registered_model_alias("flight_delay", "champion", refused.version)

    assert registry.hand_picked() == registry.newest_before(date(2013, 9, 3)) == refused


def test_a_deleted_alias_leaves_the_choice_to_the_next_night(registry: Registry) -> None:
    version = registry.register(draft(registry, date(2013, 9, 1)))
    registry.advance(Alias.CHAMPION, version)
    registry.client.delete_registered_model_alias("flight_delay", "champion")
    assert registry.champion() is None

    registry.advance(Alias.CHAMPION, version)

    assert registry.champion() == version


def test_a_version_of_a_persons_own_is_refused_by_name(registry: Registry) -> None:
    version = registry.register(draft(registry, date(2013, 9, 1)))
    registry.advance(Alias.CHAMPION, version)
    own = registry.client.create_model_version("flight_delay", "file:///somewhere").version
    registry.client.set_registered_model_alias("flight_delay", "champion", own)

    with pytest.raises(DataError, match=rf"alias champion of flight_delay names version {own}, which no night has"):
        registry.champion()
