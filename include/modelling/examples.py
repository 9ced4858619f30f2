"""The examples that the run of a day learns from: feature rows of every horizon, with the outcomes known by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from formats.manifest import Manifest
from formats.portable_model import InputKind
from include.errors import DataError, SettingsError
from include.modelling.inputs import Input, Matrix, encode
from include.modelling.labels import DATE, LABEL, ExampleIndex, Labeller, Labels
from include.modelling.tasks.learning_task import LearningTask
from include.modelling.tasks.tasks import task_of
from include.step import Context
from include.storage.lake import READERS, Dataset, Lake, Layer, Partition
from include.use_case import UseCaseSpec

HORIZON = "horizon"


@dataclass(frozen=True)
class Fold:
    """A model fitted through `fit_through` and judged on the days first … last, which come after it."""

    fit_through: date
    first: date
    last: date


@dataclass(frozen=True)
class Examples:
    """Labelled feature rows.

    `rows` names them (key, horizon, date, slice columns), `matrix` is float64 [rows, inputs], `labels` float64 [rows],
    as the task reads them. They are ordered by when their label became known, so that what was known at a cutoff is the
    first `known[cutoff]` rows.
    """

    rows: pa.Table
    task: LearningTask
    inputs: tuple[Input, ...]
    matrix: Matrix
    labels: Matrix
    days: npt.NDArray[np.datetime64]
    known: Mapping[date, int]

    def judged(self, fold: Fold) -> npt.NDArray[np.intp]:
        """The positions of the rows that judge a fold."""
        return np.flatnonzero((self.days >= np.datetime64(fold.first)) & (self.days <= np.datetime64(fold.last)))


@dataclass(frozen=True)
class Ingredients:
    """The published partitions that the run of a day learns from, with their manifests as they were found."""

    features: Mapping[str, tuple[date, ...]]
    outcomes: tuple[date, ...]
    manifests: Mapping[Partition, Manifest]

    @property
    def hashes(self) -> dict[str, str]:
        """The partitions' content hashes."""
        return {str(partition): manifest.sha256 for partition, manifest in self.manifests.items()}

    @property
    def first_day(self) -> date:
        """The oldest day learned from."""
        return min(days[0] for days in self.features.values())


def folds(spec: UseCaseSpec, first_day: date, day: date, count: int) -> list[Fold]:
    """Time-ordered folds with an expanding window; the last is the judging window, the newest `holdout_days` up to D.

    An earlier fold needs as many days to fit on as it judges, or it is left out. Raises `DataError` when even the last
    one has nothing to fit on.
    """
    width = timedelta(days=spec.holdout_days)
    found = [
        Fold(day - width * n, day - width * n + timedelta(days=1), day - width * (n - 1)) for n in range(count, 0, -1)
    ]
    if found[-1].fit_through < first_day:
        raise DataError(
            f"{spec.name}: data from {first_day} are too few to judge {spec.holdout_days} days up to {day}; "
            f"choose a later date than {first_day + width}"
        )
    return [fold for fold in found if fold is found[-1] or fold.fit_through - width >= first_day]


def ingredients(lake: Lake, spec: UseCaseSpec, day: date) -> Ingredients:
    """The partitions that the run of a day learns from: features of every horizon and outcomes, that day included.

    They are those that this run alone would have made: partitions from runs of older days must not change a model.
    """
    oldest = max(day - timedelta(days=spec.history_days), spec.first_day)
    features = {
        h.name: _days(lake, Dataset(Layer.FEATURES, h.name), oldest + timedelta(days=h.day_offset), day)
        for h in spec.horizons
    }
    outcomes = _days(lake, Dataset(Layer.RAW, spec.outcomes), oldest, day)
    wanted = [Dataset(Layer.FEATURES, name).on(each) for name, days in features.items() for each in days]
    wanted += [Dataset(Layer.RAW, spec.outcomes).on(each) for each in outcomes]
    with ThreadPoolExecutor(READERS) as pool:
        manifests = pool.map(lake.require, wanted)
    return Ingredients(features, outcomes, dict(zip(wanted, manifests, strict=True)))


def load(
    context: Context,
    made_of: Ingredients,
    names: Sequence[str],
    slices: Sequence[str],
    cutoffs: Sequence[date],
) -> Examples:
    """The examples with the named inputs, and for each cutoff (in order, the last is D) what was known at its end.

    Raises `DataError` for labels that cannot be learned from, `SettingsError` for a slice that is no feature column.
    """
    spec, lake = context.use_case.spec, context.lake
    task = task_of(spec)
    if taken := [name for name in slices if name == LABEL or name in task.predicted]:
        raise SettingsError(f"gates.py: slices name {', '.join(taken)}, which is no feature; name columns of features")
    columns = [name for name in dict.fromkeys([spec.key, DATE, *slices, *names]) if name != HORIZON]
    table = pa.concat_tables(_features(lake, made_of, horizon, columns) for horizon in made_of.features)
    outcomes = lake.read_days(Dataset(Layer.RAW, spec.outcomes), made_of.outcomes, manifests=made_of.manifests)
    task, rank, labels = _known(table, outcomes, spec, context.use_case.part("label").labels, cutoffs)
    order = np.lexsort((np.arange(len(rank)), table[DATE].to_numpy(), rank))
    order = order[: np.count_nonzero(rank < len(cutoffs))]
    inputs = tuple(_input(table, name) for name in names)
    examples = Examples(
        rows=table.select(list(dict.fromkeys([spec.key, HORIZON, DATE, *slices]))).take(order).combine_chunks(),
        task=task,
        inputs=inputs,
        matrix=encode(table, inputs, order, layout="F"),
        labels=labels[order],
        days=table[DATE].to_numpy().astype("datetime64[D]")[order],
        known={cutoff: int(np.count_nonzero(rank <= place)) for place, cutoff in enumerate(cutoffs)},
    )
    del table, outcomes
    pa.default_memory_pool().release_unused()  # hundreds of MB that the fits need
    return examples


def _days(lake: Lake, dataset: Dataset, oldest: date, day: date) -> tuple[date, ...]:
    lake.require(dataset.on(day))
    return tuple(each for each in lake.days(dataset) if oldest <= each <= day)


def _features(lake: Lake, made_of: Ingredients, horizon: str, columns: Sequence[str]) -> pa.Table:
    dataset, days = Dataset(Layer.FEATURES, horizon), made_of.features[horizon]
    table = lake.read_days(dataset, days, columns, manifests=made_of.manifests)
    return table.append_column(HORIZON, pa.repeat(horizon, table.num_rows))


def _known(
    table: pa.Table, outcomes: pa.Table, spec: UseCaseSpec, labels: Labeller, cutoffs: Sequence[date]
) -> tuple[LearningTask, npt.NDArray[np.intp], Matrix]:
    """The task, and for each row the place of the first cutoff by which it had a label (none: their number)."""
    task = task_of(spec)
    days = table[DATE].to_numpy().astype("datetime64[D]")
    index = ExampleIndex(table[spec.key], days, spec.key)
    rank = np.full(table.num_rows, len(cutoffs), dtype=np.intp)
    values = np.full(table.num_rows, np.nan)
    for place in reversed(range(len(cutoffs))):
        known = Labels.known(labels, outcomes, spec.day_end(cutoffs[place]), spec.key, task)
        task = known.task  # the last cutoff comes first, and knows every class
        there, found = index.labelled(known)
        if place == len(cutoffs) - 1 and len(known.keys) and table.num_rows and not there.any():
            raise DataError(
                f"label.py: none of {len(known.keys)} labels (such as {known.keys[0]}) belongs to one of "
                f"{table.num_rows} examples (such as {table[spec.key][0]}); answer the examples' own {spec.key}"
            )
        there &= days <= np.datetime64(cutoffs[place])
        rank[there] = place
        values[there] = found[there]
    return task, rank, values


def _input(table: pa.Table, name: str) -> Input:
    if not pa.types.is_string(table.schema.field(name).type):
        return Input(name)
    categories = sorted(value for value in pc.unique(table[name]).to_pylist() if value is not None)
    return Input(name, InputKind.CATEGORY, tuple(categories))
