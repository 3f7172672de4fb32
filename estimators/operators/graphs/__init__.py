"""Graphs of chunks, kept between products."""
