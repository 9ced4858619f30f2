"""A horizon's examples of the day that is looked at, and the moment at which the future begins for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from include.check.building import AS_OF
from include.check.comparison import instants
from include.use_case import Horizon

PLACE = 0.6
"""Where in the order of a day's as_of the cut is made, for a horizon that has many."""


@dataclass(frozen=True)
class View:
    """The rows of the day computed alone, the topics that were asked for, and the cut: microseconds since 1970."""

    horizon: Horizon
    alone: pd.DataFrame
    asked: frozenset[str]
    cut: int

    @classmethod
    def of(cls, horizon: Horizon, alone: pd.DataFrame, asked: frozenset[str]) -> View:
        """The view with its cut at one of the rows' as_of."""
        moments = np.sort(instants(alone[AS_OF]))
        return cls(horizon, alone, asked, int(moments[int(PLACE * len(moments))]))

    @property
    def known(self) -> pd.DataFrame:
        """The rows that are looked at by the cut."""
        return self.alone[instants(self.alone[AS_OF]) <= self.cut]

    def since(self, moment: int) -> pd.DataFrame:
        """The rows that are looked at from a moment on."""
        return self.alone[instants(self.alone[AS_OF]) >= moment]

    def __str__(self) -> str:
        return f"{self.horizon.name}, as_of {pd.Timestamp(self.cut, unit='us', tz='UTC'):%Y-%m-%dT%H:%MZ}"
