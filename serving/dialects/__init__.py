"""Protocols of others, so that their clients work unchanged: each translates, and the server answers as always."""
