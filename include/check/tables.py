"""The tables of a use case: contracts of raw records and features, against its spec and each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from include.check.finding import Mistake
from include.check.parts import Parts
from include.errors import DataError
from include.modelling.tasks.tasks import task_of
from include.quality.contract import Column, Contract, Kind, check_references
from include.quality.plan_and_outcome import contracts as split
from include.use_case import Topic, UseCase, UseCaseSpec

CONTRACTS, FEATURES = "contracts.py", "feature_contract.py"
STRUCTURE = {"date": Kind.DATE, "as_of": Kind.INSTANT}
"""What a feature row has beside its key: the day it belongs to, and the moment at which it is looked at."""
TAKEN = {"horizon": "build answers it before the contract's columns", "part": "the features step writes one"}
PREDICTED = ("as_of", "model_version")
"""What predictions have beside the key, the carried columns, and those of their task."""


def check_tables(use_case: UseCase, parts: Parts) -> Iterator[Mistake]:
    """Contracts that lack a topic, a key, or a column that something else names."""
    spec = use_case.spec
    raw = parts.value("contracts", "RAW", Mapping)
    if raw is not None:
        yield from _raw(spec, raw)
    features = parts.value("feature_contract", "FEATURES", Contract)
    if features is not None:
        yield from _features(spec, features)


def _raw(spec: UseCaseSpec, raw: Mapping[str, Contract]) -> Iterator[Mistake]:
    if odd := next((name for name, contract in raw.items() if not isinstance(contract, Contract)), None):
        yield Mistake(CONTRACTS, f"RAW[{odd!r}]", f"is a {type(raw[odd]).__name__}; make it a Contract")
        return
    try:
        contracts = split(spec, raw)
    except DataError as error:
        yield Mistake("spec.py", "topics", str(error))
        return
    for topic in spec.topics:
        if topic.name in contracts:
            yield from _times(topic, _columns(contracts[topic.name]))
        elif topic.of is None:
            yield Mistake(CONTRACTS, "RAW", f"has no contract of topic {topic.name}; it has {_list(raw)}; add it")
    for name, contract in raw.items():
        if contract.name != name:
            yield Mistake(CONTRACTS, f"RAW[{name!r}]", f"is a contract named {contract.name!r}; name both alike")
    try:
        check_references(raw)
    except DataError as error:
        yield Mistake(CONTRACTS, "RAW", str(error))
    for name in dict.fromkeys((spec.examples, spec.outcomes)):
        if name in contracts:
            yield from _key(spec, contracts[name], CONTRACTS, f"RAW[{spec.topic(name).table!r}]")
    if spec.examples in contracts:
        yield from _carried(spec, _columns(contracts[spec.examples]))


def _times(topic: Topic, columns: Mapping[str, Column]) -> Iterator[Mistake]:
    """When a topic's rows become known."""
    instants = {"known_at": topic.known_at} if topic.known_at else {}
    instants |= {f"late[{column!r}]": instant for column, instant in topic.late.items()}
    for field, instant in instants.items():
        column = columns.get(instant)
        if column is None or column.kind is not Kind.INSTANT:
            what = "no column" if column is None else f"a {column.kind}"
            yield Mistake("spec.py", f"topic {topic.name}: {field}", f"{instant} is {what}; name an instant column")
        elif field == "known_at" and not column.required:
            yield Mistake(
                "spec.py", f"topic {topic.name}: {field}", f"{instant} may be empty; make it required in {CONTRACTS}"
            )
    for name in topic.late:
        if name not in columns:
            yield Mistake("spec.py", f"topic {topic.name}: late", f"{name} is no column of it; correct the name")


def _key(spec: UseCaseSpec, contract: Contract, where: str, field: str) -> Iterator[Mistake]:
    column = _columns(contract).get(spec.key)
    if column is None:
        yield Mistake(where, field, f"lacks the key {spec.key} that spec.py names; add the column, or correct key")
    elif column.kind is not Kind.TEXT:
        yield Mistake(where, f"{field}.{spec.key}", f"is the key, and a {column.kind}; make it Kind.TEXT")
    elif not column.required:
        yield Mistake(where, f"{field}.{spec.key}", "is the key, and may be empty; leave out required=False")


def _carried(spec: UseCaseSpec, columns: Mapping[str, Column]) -> Iterator[Mistake]:
    for name in spec.carried:
        if name not in columns:
            yield Mistake("spec.py", "carried", f"{name} is no column of {spec.examples}; it has {_list(columns)}")
        elif name in (*PREDICTED, *task_of(spec).predicted):
            yield Mistake("spec.py", "carried", f"{name} is a column that predictions have already; leave it out")


def _features(spec: UseCaseSpec, features: Contract) -> Iterator[Mistake]:
    yield from _key(spec, features, FEATURES, "FEATURES")
    columns = _columns(features)
    for name, kind in STRUCTURE.items():
        column = columns.get(name)
        if column is None or column.kind is not kind or not column.required:
            has = "lacks it" if column is None else "has it otherwise"
            yield Mistake(FEATURES, "FEATURES", f"{has}: add Column({name!r}, Kind.{kind.name}), required")
    for name, why in TAKEN.items():
        if name in columns:
            yield Mistake(FEATURES, f"FEATURES.{name}", f"the name is taken, as {why}; choose another")


def _columns(contract: Contract) -> dict[str, Column]:
    return {column.name: column for column in contract.columns}


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(names) or "none"
