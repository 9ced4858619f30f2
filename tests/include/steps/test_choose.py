"""choose: who reigns, who challenges, and a decision that stands."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from include.errors import DataError, FaultError
from include.modelling.recipe import Gates, Recipe
from include.modelling.scoring import prediction_partition
from include.step import Context
from include.steps.choose import ChooseArguments, choose, read_decision
from include.steps.register import RegisterArguments, register
from include.steps.train import TrainArguments, train
from include.storage.lake import DECISIONS
from tests.include import learning
from tests.include.learning import GATES, HABIT, LAST, PACKAGE, RATES, TWIN, WEATHER

pytestmark = pytest.mark.slow


@pytest.fixture
def tracking_url(tmp_path: Path, empty_registry: Path) -> str:
    """The address of an MLflow of the test's own."""
    return f"sqlite:///{shutil.copy(empty_registry, tmp_path / 'mlflow.db')}"


@pytest.fixture
def lake_filled(tmp_path: Path, tracking_url: str) -> tuple[Path, str]:
    """A folder with a filled lake, and an empty registry."""
    learning.fill(learning.context(tmp_path, tracking_url).lake, last=LAST + timedelta(days=1))
    return tmp_path, tracking_url


def case(filled: tuple[Path, str], *candidates: Recipe, gates: Gates = GATES) -> Context:
    return learning.context(*filled, candidates=candidates, gates=gates)


def arguments(day: date = LAST, **further: object) -> ChooseArguments:
    return ChooseArguments.model_validate({"use_case": PACKAGE, "date": day, **further})


def crown(made: Context, day: date) -> None:
    """Let a night run to its registered champion."""
    learning.night(made, day)
    register(made, RegisterArguments.model_validate({"use_case": PACKAGE, "date": day}))


def test_the_first_model_beats_the_baseline_and_is_promoted(lake_filled: tuple[Path, str]) -> None:
    made = case(lake_filled, WEATHER, RATES)

    learning.night(made, LAST)

    decision = read_decision(made, LAST)
    assert (decision["challenger"], decision["promoted"], decision["opponent"]) == ("weather", True, "rates")
    assert decision["champion_before"] is None
    assert decision["trials"]["weather"]["difference"]["low"] > 0
    assert set(decision["trials"]["weather"]["scores"]["morning"]) >= {"auc", "brier", "log_loss", "average_precision"}


def test_where_none_passes_and_none_reigns_it_says_so_and_keeps_the_decision(lake_filled: tuple[Path, str]) -> None:
    made = case(lake_filled, HABIT, RATES)

    with pytest.raises(DataError, match="no candidate passes the gates and there is no champion to keep"):
        learning.night(made, LAST)

    assert read_decision(made, LAST)["promoted"] is False


def test_where_none_passes_the_champion_stays_and_the_run_goes_on(lake_filled: tuple[Path, str]) -> None:
    crown(case(lake_filled, WEATHER, RATES), LAST)
    next_day = LAST + timedelta(days=1)
    made = case(lake_filled, HABIT, RATES)

    learning.night(made, next_day)
    result = choose(made, arguments(next_day))

    assert result.facts["promoted"] is False
    assert result.facts["champion_before"]["candidate"] == "weather"
    assert "not shown to be as good" in result.facts["failures"]["habit"][0]


def test_a_champion_whose_recipe_is_no_candidate_tonight_is_fitted_for_the_comparison(
    lake_filled: tuple[Path, str],
) -> None:
    crown(case(lake_filled, WEATHER, RATES), LAST)
    made = case(lake_filled, TWIN, RATES)

    learning.night(made, LAST + timedelta(days=1))

    decision = read_decision(made, LAST + timedelta(days=1))
    assert decision["opponent"] == "weather"
    assert (decision["challenger"], decision["promoted"]) == ("twin", True)
    assert abs(decision["trials"]["twin"]["difference"]["auc"]) < 0.01


def test_a_tie_leaves_the_champions_recipe_in_force(lake_filled: tuple[Path, str]) -> None:
    crown(case(lake_filled, WEATHER, RATES), LAST)
    made = case(lake_filled, TWIN, WEATHER, RATES)

    learning.night(made, LAST + timedelta(days=1))

    decision = read_decision(made, LAST + timedelta(days=1))
    assert (decision["challenger"], decision["promoted"]) == ("weather", True)


def test_a_champion_whose_inputs_are_gone_gives_way_to_the_baseline_and_it_is_said(
    lake_filled: tuple[Path, str],
) -> None:
    # Given a champion that leaned on a feature that is no longer computed
    old = Recipe("old", WEATHER.estimator, ("forecast", "sold_out_rate"), {"C": 0.5})
    crown(case(lake_filled, old, RATES), LAST)
    rewritten = case(lake_filled, HABIT, RATES)
    folder, tracking_url = lake_filled
    shutil.rmtree(folder / "lake" / "ice_cream" / "features")
    fresh = learning.context(folder / "fresh", tracking_url)
    learning.fill(fresh.lake, last=LAST + timedelta(days=1))
    for day in fresh.lake.days(learning.FEATURES):
        table = fresh.lake.read(learning.FEATURES.on(day)).drop_columns(["forecast"])
        rewritten.lake.publish(learning.FEATURES.on(day), {"rows.parquet": table}, force=True)

    # When the next night chooses
    learning.night(rewritten, LAST + timedelta(days=1))

    # Then the baseline is the measure, the champion stays, and the decision says why
    decision = read_decision(rewritten, LAST + timedelta(days=1))
    assert decision["opponent"] == "rates"
    assert decision["promoted"] is False
    assert "version 1 cannot be fitted any more" in decision["remark"]


def test_a_registry_that_is_away_is_not_begun_again_beside_the_predictions_of_its_versions(
    lake_filled: tuple[Path, str],
) -> None:
    # Given a lake with predictions, and a night whose MLflow knows no version: it is on an empty disk
    made = case(lake_filled, WEATHER, RATES)
    for recipe in (WEATHER, RATES):
        train(made, TrainArguments.model_validate({"use_case": PACKAGE, "date": LAST, "candidate": recipe.name}))
    horizon = made.use_case.spec.horizons[0]
    made.lake.publish(prediction_partition(horizon, LAST), {"rows.parquet": pa.table({"model_version": ["1"]})})

    # When champion and challenger are chosen, then the challenger does not win for want of a champion
    with pytest.raises(FaultError, match=rf"no version of {PACKAGE.rpartition('.')[2]}, but .* newest are of {LAST}\)"):
        choose(made, arguments())
    assert made.lake.manifest(DECISIONS.on(LAST)) is None

    # Unless somebody says that the registry is to begin empty
    choose(made, arguments(force=True))
    assert read_decision(made, LAST)["promoted"]


def test_a_decision_stands_when_it_is_asked_for_again(lake_filled: tuple[Path, str]) -> None:
    made = case(lake_filled, WEATHER, RATES)
    crown(made, LAST)
    before = made.lake.require(DECISIONS.on(LAST)).to_json()

    choose(made, arguments())
    choose(made, arguments(force=True))

    assert made.lake.require(DECISIONS.on(LAST)).to_json() == before


def test_other_gates_are_another_decision(lake_filled: tuple[Path, str]) -> None:
    learning.night(case(lake_filled, WEATHER, RATES), LAST)

    with pytest.raises(DataError, match="calibration error"):
        choose(
            case(lake_filled, WEATHER, RATES, gates=Gates(max_calibration_error=0, max_calibration_excess=-1)),
            arguments(),
        )


def test_a_candidate_trained_on_other_data_is_left_out(lake_filled: tuple[Path, str]) -> None:
    made = case(lake_filled, WEATHER, RATES)
    learning.night(made, LAST)
    table = made.lake.read(learning.SALES.on(date(2026, 5, 20)))
    made.lake.publish(learning.SALES.on(date(2026, 5, 20)), {"rows.parquet": table.slice(1)}, force=True)

    with pytest.raises(DataError, match="no candidate is published for 2026-06-12 from its present data"):
        choose(made, arguments())
