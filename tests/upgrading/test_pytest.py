"""What the tests' own machinery uses of pytest beyond its public interface."""

from __future__ import annotations

import pytest


def test_pytest_still_knows_a_test_s_fixtures_by_this_name(request: pytest.FixtureRequest, tmp_path: object) -> None:
    (fixture,) = request.node._fixtureinfo.name2fixturedefs["tmp_path"]
    assert "return" in fixture.func.__annotations__
