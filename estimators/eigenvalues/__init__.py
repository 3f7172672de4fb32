"""Extreme eigenvalues of an operator: power iteration and Lanczos."""
