"""Table 1: regressions of accuracy changes between epochs."""
