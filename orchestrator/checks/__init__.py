"""Checks before a run. They change nothing."""
