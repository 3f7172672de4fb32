"""Verdicts on the paper's three conjectures, by the rules in docs/conjectures.md."""
