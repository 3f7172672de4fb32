"""Table 1: regressions on changes between epochs."""
