"""Experiments and model versions in MLflow."""
