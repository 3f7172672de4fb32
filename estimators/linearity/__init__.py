"""Tests whether a network is piecewise linear in each single parameter, by inspecting the autograd graph."""
