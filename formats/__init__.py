"""What the pipeline writes and serving reads, or the other way round. It imports neither side."""
