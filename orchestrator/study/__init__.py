"""Trials, sweeps and epoch records as plain data. This package reads sweep files, writes nothing and needs no torch."""
