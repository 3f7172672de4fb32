"""Benchmarks of one trial: training, evaluation and measurement."""
