"""The estimators that come with the platform, and those that a recipe names by a dotted path."""
