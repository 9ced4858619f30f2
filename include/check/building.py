"""The features of any world, made by the use case's own code in one Spark session."""

from __future__ import annotations

import os
import tempfile
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import pandas as pd
import pyarrow.parquet as pq

from include.check.finding import Mistake, MistakeError
from include.check.records import World
from include.quality.contract import Contract
from include.use_case import UseCase

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HORIZON, DATE, AS_OF = "horizon", "date", "as_of"
FILE = "features.py"
SIDE_BY_SIDE = 2
"""Worlds that are built at a time: Spark plans one of them while it computes the other."""
SPARK_CONF = {"spark.sql.shuffle.partitions": "1", "spark.sql.adaptive.enabled": "false"}
LAKE = "NIGHTSHIFT_LAKE"


class Raw(UserDict[str, "DataFrame"]):
    """The topics as `build` is given them; remembers which it has asked for."""

    def __init__(self, topics: Mapping[str, DataFrame]) -> None:
        super().__init__(topics)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> DataFrame:
        self.asked.add(name)
        return super().__getitem__(name)


@dataclass(frozen=True)
class Order:
    """Feature rows to build: of which dates of each horizon, from which world (made when its turn comes).

    `apart` hides the lake meanwhile and refuses files: the world is all there is. `columns` are the features to
    compute; all of them where there are none.
    """

    world: Callable[[], World]
    wanted: Mapping[str, Sequence[date]]
    apart: bool = False
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Built:
    """Feature rows in the order of their keys, and the topics that `build` asked for."""

    rows: pd.DataFrame
    asked: frozenset[str]


@dataclass(frozen=True)
class Builder:
    """Builds features, some worlds side by side; the use case's code itself runs one at a time."""

    use_case: UseCase
    spark: SparkSession
    folder: Path
    _turn: Lock = field(default_factory=Lock)

    @classmethod
    @contextmanager
    def opened(cls, use_case: UseCase, spark: SparkSession) -> Iterator[Builder]:
        """A builder on a session that is set up for few rows, for as long as the block lasts."""
        before = {key: spark.conf.get(key, "") for key in SPARK_CONF}
        with tempfile.TemporaryDirectory(prefix="nightshift-check-") as folder:
            try:
                for key, value in SPARK_CONF.items():
                    spark.conf.set(key, value)
                yield cls(use_case, spark, Path(folder))
            finally:
                for key, value in before.items():
                    spark.conf.set(key, value)

    @cached_property
    def _contract(self) -> Contract:
        contract: Contract = self.use_case.part("feature_contract").FEATURES
        return contract

    def built(self, orders: Sequence[Order]) -> list[Built]:
        """What is ordered, in order. `MistakeError` where the use case's code fails."""
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="build") as pool:
            try:
                return list(pool.map(self._built, orders))
            finally:
                pool.shutdown(cancel_futures=True)
                self.spark.catalog.clearCache()

    def _built(self, order: Order) -> Built:
        world = order.world()
        package = self.use_case.spec.package
        with self._turn, _failures(package), _no_lake(order.apart):
            raw = Raw({name: self._frame(name, world) for name in world})
            rows = self.use_case.part("features").build(self.spark, raw, order.wanted)
        if lacking := [name for name in (HORIZON, *self._contract.names) if name not in rows.columns]:
            raise MistakeError(
                Mistake(FILE, lacking[0], "is in feature_contract.py, but not in build's answer; add it")
            )
        with _failures(package):
            if order.apart:
                self._refuse_files(rows)
            table = rows.select(HORIZON, *self._names(order.columns)).toArrow()
        frame: pd.DataFrame = table.to_pandas(date_as_object=True)
        return Built(self.in_order(frame), frozenset(raw.asked))

    def in_order(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Feature rows under the index by which they are compared."""
        return frame.set_index([HORIZON, DATE, self.use_case.spec.key], drop=False).sort_index()

    def _names(self, columns: Sequence[str]) -> Sequence[str]:
        if not columns:
            return self._contract.names
        wanted = {DATE, AS_OF, self.use_case.spec.key, *columns}
        return [name for name in self._contract.names if name in wanted]

    def _frame(self, name: str, world: World) -> DataFrame:
        # In a plan of their own, records would be walked through by every rule of Spark's planner.
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".parquet", delete=False) as file:
            pq.write_table(world[name].table, file)
        return self.spark.read.parquet(file.name)

    def _refuse_files(self, rows: DataFrame) -> None:
        """A plan that reads files of its own reads what no manifest lists; the package's are part of its code."""
        package = Path(str(self.use_case.part("features").__file__)).resolve().parent
        for uri in rows.inputFiles():
            path = Path(unquote(urlparse(uri).path)).resolve()
            if not any(path.is_relative_to(folder) for folder in (package, self.folder.resolve())):
                raise MistakeError(
                    Mistake(FILE, "build", f"reads {uri}, which no manifest lists; make it a topic, and read it of raw")
                )


@contextmanager
def _no_lake(apart: bool) -> Iterator[None]:
    """Let settings name an empty lake, so that only what is handed over can be read."""
    if not apart:
        yield
        return
    before = os.environ.get(LAKE)
    with tempfile.TemporaryDirectory(prefix="nightshift-no-lake-") as empty:
        os.environ[LAKE] = empty
        try:
            yield
        finally:
            os.environ.pop(LAKE)
            if before is not None:
                os.environ[LAKE] = before


@contextmanager
def _failures(package: str) -> Iterator[None]:
    """Report an error of the use case's own code with file and line."""
    try:
        yield
    except MistakeError:
        raise
    except Exception as error:
        raise MistakeError(Mistake.of(error, package, FILE, "build")) from error
