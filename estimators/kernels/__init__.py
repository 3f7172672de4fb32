"""Faster second derivatives of convolutions, ReLU and max pooling on a CPU."""
