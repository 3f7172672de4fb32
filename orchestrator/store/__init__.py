"""The store, which is the single source of truth. It holds all records, and the leases and claims of their writers."""
