"""How a new version comes into service: the phases of its trial, the plan, and the limits."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Phase(StrEnum):
    """Where the trial of a version stands."""

    SHADOW = "shadow"
    """It scores copies of requests, or sample rows, in the background; nobody sees its answers."""
    CANARY = "canary"
    """It answers a share of the requests."""


class Limits(BaseModel):
    """How far the new version may be from the old one before it is rolled back.

    `failure_share`: failed answers among those asked of it. `psi`: population stability index between both versions'
    answers to the same rows. `mean_shift`: difference of their mean probability. `spread`: the least standard deviation
    of its answers, as a part of the old one's; a model that gives all rows the same answer is broken. `slower`: how
    many times as long it may take, judged at the median and the 95th percentile if it also takes `slower_seconds` more.
    Versions whose answers to a row differ by 0.02 or less on average count as equal, whatever their distribution.

    Defaults are measured (docs/serving/releases.md): versions of neighbouring nights have a PSI of
    0.001 to 0.06, good ones trained a month apart up to 2.1. The rule of thumb of 0.25 would stop many good nights.
    Multiclass and regression have up to 0.19 with 110 and 150 rows, and their means moved by up to 0.041
    (docs/benchmarks.md); with 72 rows of hourly temperatures, one pair in 23 was above 3.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    failure_share: float = Field(default=0.01, ge=0, le=1)
    psi: float = Field(default=3.0, gt=0)
    mean_shift: float = Field(default=0.2, gt=0, le=1)
    spread: float = Field(default=0.1, ge=0)
    slower: float = Field(default=3.0, ge=1)
    slower_seconds: float = Field(default=0.05, ge=0)


class Plan(BaseModel):
    """How a rollout is made; seconds are wall-clock.

    The shadow ends after `shadow_rows` compared rows or `shadow_seconds`. Then `share` of the requests (0: none) goes
    to the new version for `watch_seconds`. Both end after `idle_seconds` without any request, when there is
    nothing to see. Fewer than `min_requests` requests or compared rows are judged by failures only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shadow_rows: int = Field(default=500, ge=0, le=100_000)
    shadow_seconds: float = Field(default=10, ge=0, le=3600)
    share: float = Field(default=0.1, ge=0, le=1)
    watch_seconds: float = Field(default=30, ge=0, le=86_400)
    idle_seconds: float = Field(default=1, ge=0, le=3600)
    min_requests: int = Field(default=20, ge=1)
    limits: Limits = Limits()
