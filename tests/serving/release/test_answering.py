from __future__ import annotations

import json

import pytest

from formats.portable_model import AnswerError, Found
from formats.release import OnTrial
from formats.request_rows import RequestModel, RowError
from formats.rollout_plan import Phase, Plan
from serving.errors import NotReadyError
from serving.release.answering import Answering
from serving.release.served import Served
from serving.release.trial import Trial
from tests.serving.release.rehearsal import ROWS, USE_CASE, model, version

BODY = json.dumps({"rows": ROWS[:2]}).encode()


def ask(asked: RequestModel) -> Found:
    return asked.answer(BODY)


@pytest.fixture
def answering() -> Answering:
    """Version 7 serves, and version 8 is a canary that takes everything."""
    found = Answering(USE_CASE)
    found.in_service = Served(version(7), model(7))
    on_trial = OnTrial(id="t", entry=version(8), plan=Plan(), phase=Phase.CANARY, share=1.0)
    found.trial = Trial(on_trial, found.in_service, model(8), clock=lambda: 0.0)
    found.trial.until = 10.0
    return found


def test_before_anything_serves_the_reason_is_told() -> None:
    nothing = Answering(USE_CASE)
    nothing.why_not = "version 7 is being loaded"

    with pytest.raises(NotReadyError, match=r"^no model is served: version 7 is being loaded$"):
        nothing.answer(b"", ask)
    assert nothing.states() == []


def test_the_version_picked_answers_and_the_body_is_kept_for_a_shadow(answering: Answering) -> None:
    served, answers = answering.answer(b"somebody", ask, BODY)

    assert served.entry.version == "8"
    assert answers.tolist() == model(8).answer(BODY).tolist()
    assert answering.recent.take() == BODY


def test_when_the_version_on_trial_fails_the_proven_one_answers(answering: Answering) -> None:
    def fails(asked: RequestModel) -> Found:
        if asked is model(8):
            raise AnswerError("no probability")
        return asked.answer(BODY)

    served, _ = answering.answer(b"somebody", fails)

    assert served.entry.version == "7"
    assert answering.trial is not None
    both = answering.trial.tally.answered
    assert (both.trial.failures, both.proven.requests, both.proven.failures) == (1, 1, 0)


def test_when_the_proven_version_fails_nobody_else_answers(answering: Answering) -> None:
    answering.trial = None

    def fails(_: RequestModel) -> Found:
        raise AnswerError("no probability")

    with pytest.raises(AnswerError):
        answering.answer(b"somebody", fails)


def test_a_callers_mistake_is_no_failure_of_a_version(answering: Answering) -> None:
    with pytest.raises(RowError):
        answering.answer(b"somebody", lambda asked: asked.answer(b'{"rows": [{}]}'))

    assert answering.trial is not None
    assert answering.trial.tally.answered.trial.requests == 0


def test_a_trial_that_ends_during_a_request_changes_nothing_for_it(answering: Answering) -> None:
    def ends(asked: RequestModel) -> Found:
        answering.trial = None
        return asked.answer(BODY)

    assert answering.answer(b"somebody", ends)[0].entry.version == "8"


def test_both_versions_and_their_shares_are_told_to_the_metrics(answering: Answering) -> None:
    assert [(state.version, state.role, state.share) for state in answering.states()] == [
        ("7", "in_service", 0.0),
        ("8", "on_trial", 1.0),
    ]
