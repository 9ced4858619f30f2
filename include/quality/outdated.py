"""Raw partitions that another contract, or other code or settings of the source, have sorted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from include import identity
from include.quality.contract import Contract
from include.sources.source import Configured, Source
from include.storage.lake import Dataset, Lake, Layer, Partition
from include.use_case import UseCaseSpec

log = logging.getLogger("nightshift")


@dataclass(frozen=True)
class Outdated:
    """Such partitions in a run's range.

    `differences` says what differs in each. `unnoted` are those that do not name what sorted them.
    """

    differences: Mapping[Partition, str]
    unnoted: frozenset[Partition]

    @classmethod
    def among(
        cls,
        lake: Lake,
        spec: UseCaseSpec,
        identities: Mapping[str, Mapping[str, str]],
        day: date,
        *,
        besides: Collection[Partition] = (),
    ) -> Outdated:
        """Those among the published partitions that the run of a day reads, besides those that are read anyway."""
        oldest = day - timedelta(days=spec.history_days + spec.lookback_days)
        differences: dict[Partition, str] = {}
        unnoted: set[Partition] = set()
        for topic in spec.topics:
            dataset = Dataset(Layer.RAW, topic.name)
            last = day + timedelta(days=topic.day_offset)
            there = [each for each in lake.days(dataset) if oldest <= each <= last and dataset.on(each) not in besides]
            for each, manifest in lake.manifests(dataset, there).items():
                if not manifest.inputs:
                    unnoted.add(dataset.on(each))
                elif changed := identity.differences(manifest.inputs, identities[topic.name]):
                    differences[dataset.on(each)] = changed
        return cls(differences, frozenset(unnoted))

    def tell(self, first_day: date) -> None:
        """Log what is old, what is read again and how to renew the rest; `first_day` is the source's."""
        if self.differences:
            reasons = Counter(reason for changed in self.differences.values() for reason in changed.split(", "))
            gone = sum(partition.day < first_day for partition in self.differences)
            log.info(
                "extract: %d raw partitions are out of date (%s) and read again%s",
                len(self.differences),
                ", ".join(f"another {reason}: {count}" for reason, count in sorted(reasons.items())),
                f", but for {gone} before {first_day}, which the source has no more: they stay" if gone else "",
            )
        if self.unnoted:
            log.warning(
                "extract: %d raw partitions do not say which contract sorted them, as an older release published them; "
                "they are taken as they are (extract with --renew reads the whole history again)",
                len(self.unnoted),
            )


def tell_kept(kept: Iterable[tuple[Partition, str]]) -> None:
    """Log which partitions stay out of date because the source no longer has them, and why."""
    found = sorted(kept, key=lambda each: (each[0].day, str(each[0])))
    if found:
        (first, reason), (last, _) = found[0], found[-1]
        log.warning(
            "extract: %d raw partitions (%s … %s) stay as another contract, source code or setting sorted them, as the "
            "source has them no more; each run asks it again: %s",
            *(len(found), first, last, reason),
        )


def sorted_by(spec: UseCaseSpec, contracts: Mapping[str, Contract], source: Source) -> dict[str, dict[str, str]]:
    """What sorts each topic's records now."""
    configured = source.configured if isinstance(source, Configured) else ""
    return {topic.name: identity.raw(spec, contracts[topic.name], configured) for topic in spec.topics}
