"""How a use case's target is learned and judged, one module a task."""
