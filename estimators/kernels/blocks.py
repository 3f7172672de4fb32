"""Blocks of a few samples, so that intermediate results stay in the cache."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

# Bytes of intermediate results per block. On a CPU they fit the cache, and the allocator can reuse memory. Requesting
# new pages from the operating system would take longer than the arithmetic. Accelerators need larger blocks.
_BYTES = {"cpu": 8 * 2**20}
_BYTES_ON_ACCELERATORS = 256 * 2**20


def blocks(samples: int, numbers: int, like: Tensor) -> Iterator[slice]:
    """Yields slices that cover all samples. Each sample has ``numbers`` numbers, with dtype and device of ``like``."""
    step = max(1, _BYTES.get(like.device.type, _BYTES_ON_ACCELERATORS) // max(1, numbers * like.element_size()))
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


class Scratch:
    """Memory that is reused by consecutive blocks, so that it stays in the cache."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}

    def get(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Returns an uninitialised tensor like ``like``. The next call with the same name overwrites it."""
        numbers, kept = math.prod(shape), self._tensors.get(name)
        if kept is None or len(kept) < numbers or kept.dtype != like.dtype or kept.device != like.device:
            kept = self._tensors[name] = like.new_empty(numbers)
        return kept[:numbers].view(*shape)
