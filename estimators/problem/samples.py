"""The samples of a loss, as (inputs, targets) pairs that are split into chunks in a fixed order."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
Batches = Pair | Iterable[Pair]


class Samples:
    """The samples of ``batches``, in order. They are counted and checked once.

    Args:
        batches: an (inputs, targets) pair of tensors, or a re-iterable of such pairs (a list, a DataLoader
            with ``shuffle=False``), whose first dimension counts samples.

    Raises:
        ValueError: if ``batches`` is a generator, has no samples, has a batch that is not a pair of tensors of equal
            length, or yields a different order in a second pass.
    """

    def __init__(self, batches: Batches) -> None:
        source: object = [batches] if _is_pair(batches) else batches
        if not isinstance(source, Iterable) or isinstance(source, Tensor):
            raise ValueError(
                f"batches is a {type(batches).__name__}, expected an (inputs, targets) pair of tensors or a re-iterable"
                " of such pairs: pass (inputs, targets)"
            )
        if iter(source) is source:
            raise ValueError(
                f"batches is a {type(batches).__name__}, which can be iterated only once, but every product is"
                " a pass over the data: pass list(batches) or a DataLoader"
            )
        self._batches: Iterable[Pair] = source
        self.count = sum(len(inputs) for inputs, _ in self._checked_pairs())
        if self.count == 0:
            raise ValueError("batches holds no samples, expected at least one: check the data or its split")
        self._refuse_changing_order()

    def chunks(self, size: int, device: torch.device, limit: int | None = None) -> Iterator[Pair]:
        """Yields chunks of at most ``size`` of the first ``limit`` samples (None: all), on ``device``.

        A chunk does not span batches.

        Raises:
            ValueError: if the number of samples has changed since they were counted.
        """
        wanted = self.count if limit is None else limit
        seen = 0
        for inputs, targets in self._checked_pairs():
            batch = min(len(inputs), wanted - seen)
            for start in range(0, batch, size):
                stop = min(start + size, batch)
                yield inputs[start:stop].to(device), targets[start:stop].to(device)
            seen += len(inputs)
            if wanted <= seen and wanted < self.count:
                return
        if seen != self.count:
            raise ValueError(
                f"batches yielded {seen} samples, expected {self.count} as in its first pass: pass data that yields the"
                " same samples in every pass"
            )

    def batches(self) -> Iterator[Pair]:
        """Yields the batches that hold samples, as they are."""
        return (pair for pair in self._checked_pairs() if len(pair[0]))

    def _checked_pairs(self) -> Iterator[Pair]:
        for position, pair in enumerate(self._batches):
            if not _is_pair(pair):
                raise ValueError(
                    f"batch {position} is {_describe(pair)}, expected a pair of tensors (inputs, targets):"
                    " wrap the data so that it yields such pairs"
                )
            inputs, targets = pair
            if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
                raise ValueError(
                    f"batch {position} holds inputs of shape {tuple(inputs.shape)} and targets of shape"
                    f" {tuple(targets.shape)}, expected the same number of samples in the first dimension of both:"
                    " pass one target per input"
                )
            yield inputs, targets

    def _refuse_changing_order(self) -> None:
        first, second = (next((pair for pair in self._checked_pairs() if len(pair[0])), None) for _ in range(2))
        if first is None or second is None or not all(_same(a, b) for a, b in zip(first, second, strict=True)):
            raise ValueError(
                "batches yielded a different first batch in a second pass, expected the same samples in the same order:"
                " turn off shuffling and random augmentation"
            )


def samples_in_fraction(fraction: float, count: int) -> int:
    """ceil(fraction * count), at least 1. Ignores rounding errors such as 0.07 * 100 = 7.000000000000001."""
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction is {fraction}, expected a number in (0, 1]: pass the share of samples to keep")
    return max(1, math.ceil(round(fraction * count, 9)))


def _is_pair(value: object) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(part, Tensor) for part in value)


def _same(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    # NaN equals NaN here, because a NaN in the data does not mean that the order has changed.
    return bool(torch.all((a == b) | ((a != a) & (b != b))))


def _describe(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of ({', '.join(type(part).__name__ for part in value)})"
    return f"a {type(value).__name__}"
