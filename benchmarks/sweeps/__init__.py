"""Benchmarks of sweeps: engines, many trials, many nodes, reproducibility."""
