"""Worker processes on one port, from start to drain."""
