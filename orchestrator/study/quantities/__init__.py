"""The settings of quantities, and the declaration of their keys. ``training/measurement`` computes them."""
