"""What the tests of `make check` share."""

from __future__ import annotations

import pytest

from include.check import leak
from tests.waiting import PATIENCE


@pytest.fixture(autouse=True)
def time_to_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine narrows a leak down as far as an idle one."""
    monkeypatch.setattr(leak, "SEARCH_SECONDS", (PATIENCE * 3, PATIENCE))
