"""Data sets: downloaded, decoded once, cached and held on the trial's device."""
