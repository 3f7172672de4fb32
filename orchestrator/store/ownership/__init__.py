"""Ownership: leases on sweeps, claims on trials."""
