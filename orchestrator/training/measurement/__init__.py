"""Curvature estimates after an epoch. The only package that calls the estimators."""
