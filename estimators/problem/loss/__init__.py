"""Checks of a loss function and its targets, and the precision in which the loss is evaluated."""
