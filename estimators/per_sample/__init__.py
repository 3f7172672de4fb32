"""Per-sample gradients of layers and their norms."""
