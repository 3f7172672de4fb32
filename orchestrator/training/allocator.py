"""Settings of glibc's malloc for processes that train and measure. They change the speed, never a result.

A training step allocates and frees the same large tensors again and again. By default, glibc may return this memory to
the system at every step and get it back page by page. With batches of 256, this took a third of the time of the paper's
CNN (docs/decisions/freed-memory.md). Other C libraries ignore these settings.
"""

import ctypes
from collections.abc import Callable

WORKER_ENVIRONMENT = {
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in {
            "mmap_threshold": 2**40,  # never a mapping of its own for a large tensor
            "trim_threshold": 2**40,
            "arena_max": 1,  # Ray runs a trial in a thread, and heaps of threads are limited to 64 MiB each
            "hugetlb": 1,  # pages of 2 MiB where the system allows them
        }.items()
    )
}
"""Environment variables with which a worker process has to start."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Makes this process keep freed memory for later allocations, for programs that cannot set their own environment.

    Has an effect on the main thread only.
    """
    if set_option := _function("mallopt"):
        set_option(_MMAP_THRESHOLD, _LARGEST)
        set_option(_TRIM_THRESHOLD, _LARGEST)


def return_freed_memory() -> None:
    """Returns freed memory to the system, for other trials. A measurement takes ten times as much as training."""
    if trim := _function("malloc_trim"):
        trim(0)


def _function(name: str) -> Callable[..., int] | None:
    """Returns a function of the C library; None if it has none of this name."""
    return getattr(ctypes.CDLL(None), name, None)
