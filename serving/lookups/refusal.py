"""The OpenAPI entry for a lookup that finds nothing."""

from __future__ import annotations

from typing import Any

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {
        "description": "Nothing is known of it",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {"detail": "kiosk_day 2026-06-15-Arno: no prediction is published"},
            }
        },
    }
}
"""`serving.openapi` adds the answers that are the same for all routes."""
