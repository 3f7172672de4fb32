"""Whether a network is piecewise linear in each single parameter, read from the autograd graph."""
