"""The portable model file: fetched, read, asked."""
