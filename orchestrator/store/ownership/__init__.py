"""Who may write: leases of sweeps, claims on trials."""
