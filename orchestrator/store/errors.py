"""Errors of the store."""


class StorageError(OSError):
    """The storage cannot be read or written. The message gives the path and the reason."""


class DamagedError(StorageError):
    """A stored file is damaged. The message gives its path and how to repair it. Other files are unaffected."""
