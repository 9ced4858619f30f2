"""The answer, in OpenAPI, of a lookup that finds nothing."""

from __future__ import annotations

from typing import Any

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {
        "description": "Nothing is known of it",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {"detail": "flight 2013-10-02-AA-1-JFK: no prediction is published"},
            }
        },
    }
}
"""Whatever else may be answered is the same for all routes, and put in by `serving.openapi`."""
