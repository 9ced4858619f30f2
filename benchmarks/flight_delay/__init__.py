"""Benchmarks of the use case that ships: its features, models, forecast and workers."""
