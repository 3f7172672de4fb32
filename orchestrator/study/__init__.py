"""Trials, sweeps and epoch records as pure data: this package reads sweep files, writes nothing, and needs no torch."""
