"""Code shared by all benchmarks: settings, machine, timing, results, tables."""
