"""Benchmarks of the system against other implementations: ``python -m benchmarks``, or ``make bench``."""
