"""Errors of the store."""


class StorageError(OSError):
    """The storage cannot be read or written. The message names the path and the reason."""


class DamagedError(StorageError):
    """One stored file is damaged. The message names it and how to repair it; all other files are unaffected."""
