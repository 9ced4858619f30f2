"""Finds an adapter's mistakes in seconds: checks the package, and that features do not know the future."""
