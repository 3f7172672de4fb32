"""Benchmarks of the estimators: Hessian-vector products, eigenvalues and traces."""
