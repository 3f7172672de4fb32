"""Decoded data sets on this machine's disk."""
