"""Benchmarks of the estimators: products, eigenvalues and traces."""
