"""What the system costs, beside other ways to do the same: ``python -m benchmarks``, or ``make bench``."""
