"""Squared norms of per-sample gradients, per parameter."""
