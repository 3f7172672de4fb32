"""Traces: Hutchinson's estimator, and the Gauss-Newton trace without probes."""
