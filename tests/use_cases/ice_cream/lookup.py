"""How serving looks up ice cream: a kiosk's predictions, beside those of one key."""

from __future__ import annotations

from include.predictions.lookup import Lookup

LOOKUP = Lookup(groups=("kiosk",))
