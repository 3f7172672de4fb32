"""Symmetric matrices known by their products with a vector."""
