"""The MLflow runs of a sweep and its trials: their content, and the updates that bring the tracker up to date."""
