"""Whether a network is piecewise linear in each single parameter, read off the autograd graph."""
