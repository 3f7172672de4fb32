"""Estimates of a record. The only package that calls the estimators."""
