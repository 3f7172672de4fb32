"""Benchmarks of sweeps: engines, many trials, many nodes, time estimates, reproducibility."""
