"""Data sets: downloaded, decoded once, cached, split and moved to the trial's device."""
