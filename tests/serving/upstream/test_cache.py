"""What a cache promises, whatever happens in whatever order: a clock that is ours, loads that end when we say so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.errors import NotFoundError, NotYetError, UpstreamError
from serving.telemetry.metrics import Telemetry
from serving.upstream.cache import Cache, Held, Loaded, Terms

TERMS = Terms(refresh=10, fresh=20, keep=100, missing=5, entries=3, loads=2)
KEYS = ("a", "b", "c", "d", "e")


class World:
    """A cache, its clock, and the loads that wait for us to end them."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.now = 1000.0
        self.waiting: dict[str, list[asyncio.Future[Loaded[str]]]] = {}
        self.loop = asyncio.new_event_loop()
        self.began = 0
        self.cache: Cache[str] = Cache("test", self.load, terms, Telemetry(), lambda: self.now)

    async def load(self, key: str) -> Loaded[str]:
        self.began += 1
        future: asyncio.Future[Loaded[str]] = self.loop.create_future()
        self.waiting.setdefault(key, []).append(future)
        return await future

    def step(self) -> None:
        """Let everything run that can."""
        for _ in range(5):
            self.loop.run_until_complete(asyncio.sleep(0))

    def peek(self, key: str) -> Held[str] | None:
        async def inside() -> Held[str] | None:
            return self.cache.peek(key)

        held = self.loop.run_until_complete(inside())
        self.step()
        return held

    def refresh(self, key: str, *, urgent: bool = True) -> bool:
        async def inside() -> bool:
            return self.cache.refresh(key, urgent=urgent) is not None

        began = self.loop.run_until_complete(inside())
        self.step()
        return began

    def end(self, key: str, outcome: Loaded[str] | Exception) -> None:
        (future,) = self.waiting.pop(key)
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        self.step()

    def close(self) -> None:
        self.loop.run_until_complete(self.cache.stop())
        self.loop.close()


class Promises(RuleBasedStateMachine):
    """The machine that hypothesis drives; `truth` is when the answer held for a key was asked for."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.truth: dict[str, tuple[float, str | None]] = {}
        self.asked: dict[str, float] = {}
        self.made = 0

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(key=st.sampled_from(KEYS))
    def someone_asks(self, key: str) -> None:
        held = self.world.peek(key)
        if held is None:
            self.world.refresh(key)
        else:
            since, value = self.truth[key]
            assert held.value == value
            assert held.age == pytest.approx(self.world.now - since)
            assert held.age < (TERMS.missing if value is None else TERMS.keep)
            assert held.stale == (value is not None and held.age >= TERMS.fresh)
        self.note_begun()

    @precondition(lambda self: self.world.waiting)
    @rule(data=st.data(), outcome=st.sampled_from(["value", "old", "missing", "failure", "fault"]))
    def a_load_ends(self, data: st.DataObject, outcome: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.world.waiting)))
        began = self.asked.pop(key)
        self.made += 1
        value = f"{key}{self.made}"
        match outcome:
            case "value":
                self.truth[key] = (began, value)
                self.world.end(key, Loaded(value))
            case "old":
                self.truth[key] = (began - 15, value)
                self.world.end(key, Loaded(value, age=15))
            case "missing":
                self.truth[key] = (began, None)
                self.world.end(key, NotFoundError("none"))
            case "failure":
                self.world.end(key, UpstreamError("down"))
            case _:
                self.world.end(key, ZeroDivisionError())
        self.note_begun()

    def note_begun(self) -> None:
        for key in self.world.waiting:
            self.asked.setdefault(key, self.world.now)

    @invariant()
    def one_load_a_key_and_few_in_all_and_few_entries(self) -> None:
        assert all(len(futures) == 1 for futures in self.world.waiting.values())
        assert len(self.world.waiting) == self.world.cache.loading <= TERMS.loads
        assert len(self.world.cache) <= TERMS.entries

    def teardown(self) -> None:
        self.world.close()


Promises.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPromises = pytest.mark.slow(Promises.TestCase)


@pytest.fixture
def world() -> World:
    return World()


def held(world: World, key: str = "a") -> None:
    world.refresh(key)
    world.end(key, Loaded("answer"))


def test_an_answer_is_refreshed_ahead_of_its_end(world: World) -> None:
    held(world)
    world.now += TERMS.refresh * 0.79
    assert world.peek("a") == Held("answer", cast("float", pytest.approx(7.9)), stale=False)
    assert not world.waiting

    world.now += TERMS.refresh * 0.3
    assert world.peek("a") == Held("answer", cast("float", pytest.approx(10.9)), stale=False)
    world.end("a", Loaded("newer"))

    assert world.peek("a") == Held("newer", 0.0, stale=False)


def test_the_least_recently_asked_for_goes_first(world: World) -> None:
    for key in ("a", "b", "c"):
        held(world, key)
    world.peek("a")
    held(world, "d")

    assert [world.peek(key) is not None for key in ("a", "b", "c", "d")] == [True, False, True, True]


def test_a_failed_key_is_left_alone_for_a_moment(world: World) -> None:
    world.refresh("a")
    world.end("a", UpstreamError("down"))

    assert not world.refresh("a")
    world.now += 1
    assert world.refresh("a")


def test_refreshes_leave_room_for_those_who_have_nothing() -> None:
    world = World(replace(TERMS, loads=4, entries=9))
    for key in "abc":
        held(world, key)
    world.now += TERMS.fresh

    for key in "abc":
        world.peek(key)

    assert sorted(world.waiting) == ["a", "b"]
    assert world.refresh("d")
    assert world.refresh("e")
    assert not world.refresh("f")


def ask(world: World, key: str, within: float | None) -> Callable[[], Held[str]]:
    task = world.loop.create_task(world.cache.get(key, within))
    world.step()
    return lambda: world.loop.run_until_complete(task)


def test_who_waits_gets_what_the_load_finds(world: World) -> None:
    answers = [ask(world, "a", None) for _ in range(5)]
    world.end("a", Loaded("answer"))

    assert {answer().value for answer in answers} == {"answer"}
    assert world.began == 1


def test_who_has_waited_long_enough_is_told_so_and_the_load_goes_on(world: World) -> None:
    answer = ask(world, "a", 0.01)
    with pytest.raises(NotYetError, match="it is being made"):
        answer()

    world.end("a", Loaded("answer"))

    assert world.peek("a") == Held("answer", 0.0, stale=False)


def test_who_leaves_does_not_end_the_load(world: World) -> None:
    task = world.loop.create_task(world.cache.get("a"))
    world.step()
    task.cancel()
    world.step()
    world.end("a", Loaded("answer"))

    assert world.peek("a") is not None


def test_a_failure_is_told_with_when_to_come_again(world: World) -> None:
    error = UpstreamError("upstream sensor is down")
    error.retry_after = 4
    answer = ask(world, "a", None)
    world.end("a", error)

    with pytest.raises(NotYetError, match="upstream sensor is down") as refused:
        answer()
    assert refused.value.retry_after == 4


def test_what_a_load_still_takes_is_judged_by_the_last_ones(world: World) -> None:
    assert world.cache.remaining("a") is None
    for seconds in (2.0, 4.0, 9.0):
        world.refresh("a")
        world.now += seconds
        world.end("a", Loaded("answer"))

    assert (world.cache.remaining("b"), world.cache.remaining("b", at_best=True)) == (4.0, 2.0)
    world.refresh("b")
    world.now += 1.5
    assert (world.cache.remaining("b"), world.cache.remaining("b", at_best=True)) == (2.5, 0.5)
