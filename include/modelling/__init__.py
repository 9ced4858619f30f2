"""From examples to a chosen model and its predictions."""
