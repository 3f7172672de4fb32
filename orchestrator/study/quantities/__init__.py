"""The quantities that a sweep file can choose: settings and declared keys. ``training/measurement`` computes them."""
