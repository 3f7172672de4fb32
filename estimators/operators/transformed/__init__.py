"""Operators that transform another operator."""
