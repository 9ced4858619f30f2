"""Files beside the tables of predictions: lookups for serving, and samples of its answers."""
