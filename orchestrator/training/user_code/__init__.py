"""The user's own code: found without importing it, imported, checked and called."""
