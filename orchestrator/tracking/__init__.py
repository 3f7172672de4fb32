"""Copies a sweep from the store to MLflow in a separate process. Importing this package does not import MLflow."""
