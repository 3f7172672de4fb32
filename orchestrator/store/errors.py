"""What goes wrong with a storage."""


class StorageError(OSError):
    """The storage cannot be read or written; the message says which path and why."""


class DamagedError(StorageError):
    """The medium has damaged one file; the message names it, and what mends it. All others are as they were."""
