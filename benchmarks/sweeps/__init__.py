"""Benchmarks of sweeps: overhead of the engines, many trials, many nodes, reproducibility."""
