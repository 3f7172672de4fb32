"""Extreme eigenvalues of a symmetric operator: power iteration and Lanczos."""
