"""Symmetric matrices defined by matrix-vector products."""
