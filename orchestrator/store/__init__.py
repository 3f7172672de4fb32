"""The store, which is the single source of truth. It holds all epochs, and the leases and claims of their writers."""
