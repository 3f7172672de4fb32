"""Curvature along gradients, and the noise of gradients."""
