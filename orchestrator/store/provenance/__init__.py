"""Provenance: the code, command, machine and packages behind every number."""
