"""Checks of the storage and of the cache for decoded data."""

from collections.abc import Iterator

from orchestrator.checks.finding import Finding, ok, problem, warning
from orchestrator.checks.medium import folder_medium, storage_medium
from orchestrator.counted import counted
from orchestrator.store.errors import StorageError
from orchestrator.store.storage import Storage


def check_storage(storage: Storage) -> Finding:
    """Checks that the storage is writable and has free space."""
    try:
        medium = storage_medium(storage.files)
        sweeps = len(storage.sweeps())
    except StorageError as error:
        return problem("storage", error)
    content = counted(sweeps, "sweep") if medium.exists else "no sweeps yet"
    text = f"{storage.root}: {medium}, {content}"
    if medium.low_space:
        return warning(
            "storage", text, "too little space for checkpoints: free some, or use another folder with --storage"
        )
    return ok("storage", text)


def check_cache() -> Iterator[Finding]:
    """Checks that the cache is writable and has free space."""
    try:
        from orchestrator.training.data.cache.decoded_copy import CACHE_VARIABLE, cache_folder
    except ImportError:  # torch, reported by check_devices
        return
    folder = cache_folder()
    try:
        medium = folder_medium(folder)
    except StorageError as error:
        yield problem("cache", f"decoded data goes to {folder}: {error}", f"set {CACHE_VARIABLE} to that folder")
        return
    if medium.low_space:
        fix = f"too little space for decoded data: free some, or set {CACHE_VARIABLE} to another folder"
        yield warning("cache", f"{folder}: {medium}", fix)
    else:
        yield ok("cache", f"{folder}: {medium}")


def check_old_copies() -> Iterator[Finding]:
    """Reports data sets in the cache that other versions of this program have decoded."""
    try:
        from orchestrator.training.data.cache.decoded_copy import earlier_copies
    except ImportError:  # torch, reported by check_devices
        return
    if copies := earlier_copies():
        size = sum(path.stat().st_size for copy in copies for path in copy.iterdir()) / 2**30
        text = f"{size:.1f} GiB of data decoded by other versions is not used by this one"
        yield ok("cache", f"{text}; to free the space: rm -rf {' '.join(map(str, copies))}")
