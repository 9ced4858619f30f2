"""The place of a night's decision in the lake."""

from __future__ import annotations

from include.storage.lake import Dataset, Layer

DECISIONS = Dataset(Layer.DECISIONS, "champion")
