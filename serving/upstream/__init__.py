"""Upstreams that are asked over HTTP, and their answers kept."""
