"""The store, the single source of truth: the epochs of every trial, and the leases and claims of their writers."""
