"""A few samples at a time, so that what is formed of them and used at once never leaves the cache."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

# Bytes that are formed at a time: what a processor's cache holds, and its allocator hands out again without asking the
# system for new pages, which took longer than the arithmetic. Accelerators want more.
_BYTES = {"cpu": 8 * 2**20}
_BYTES_ON_ACCELERATORS = 256 * 2**20


def blocks(samples: int, numbers: int, like: Tensor) -> Iterator[slice]:
    """Slices that cover the samples, of each of which so many numbers like those of a tensor are formed."""
    step = max(1, _BYTES.get(like.device.type, _BYTES_ON_ACCELERATORS) // max(1, numbers * like.element_size()))
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


class Scratch:
    """Memory for what is formed of block after block: what is written to the same place again is still in the cache."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def of(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Of one purpose: a tensor like another but for its shape, of any content, until it is asked for again."""
        numbers, kept = math.prod(shape), self._kept.get(name)
        if kept is None or len(kept) < numbers or kept.dtype != like.dtype or kept.device != like.device:
            kept = self._kept[name] = like.new_empty(numbers)
        return kept[:numbers].view(*shape)
