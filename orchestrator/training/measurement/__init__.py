"""What is estimated at a record; the one place that calls the estimators."""
