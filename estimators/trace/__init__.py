"""Trace estimation: Hutchinson's method, and the trace of the Gauss-Newton matrix without probes."""
