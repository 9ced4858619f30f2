"""Where a night's decision lies in the lake."""

from __future__ import annotations

from include.storage.lake import Dataset, Layer

DECISIONS = Dataset(Layer.DECISIONS, "champion")
