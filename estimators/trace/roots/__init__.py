"""Roots of the Hessian of a loss with respect to the outputs."""
