"""What all benchmarks share: their settings, the machine, the clock, results as JSON, tables, the README's numbers."""
