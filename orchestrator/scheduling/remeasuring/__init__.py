"""Measures curvature again from the stored checkpoints of a sweep."""
