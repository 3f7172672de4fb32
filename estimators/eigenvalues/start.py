"""Start vectors of Krylov spaces: random, given, or from a coarse stage."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from estimators.eigenvalues.coarse_start import coarse_start
from estimators.operators.protocols import SampledOperator, SymmetricOperator, has_samples, keeping_graphs

CoarseFraction = float | Literal["auto"] | None
# Larger chunks need more products, see benchmarks/README.md.
AUTO = 0.1
# Length of the random part added to a start of length 1, either given or from a coarse stage. It lowers the first
# Rayleigh quotient by a relative 1e-4, which the second product recovers. If the start has no component along a top
# eigenvector, Lanczos finds that eigenvector about as soon as from a random start.
_RANDOM_PART = 0.01


@dataclass(frozen=True)
class StartRule:
    """How to find the start vector."""

    initial: Tensor | None
    """A given start [size]; None: a random one, or one from a coarse stage."""
    coarse_fraction: float | None
    """Maximum share of the samples in a step of the coarse stage; None: no coarse stage."""

    @classmethod
    def of(
        cls,
        op: SymmetricOperator,
        initial: Tensor | None,
        coarse_fraction: CoarseFraction,
        max_products: int,
        auto: float = AUTO,
    ) -> "StartRule":
        """Validates the options. ``auto``: the share of the samples in an ``"auto"`` coarse stage, if there is one.

        Raises:
            ValueError: see `estimators.lanczos`.
        """
        if coarse_fraction == "auto":
            usable = initial is None and 2 <= max_products < op.size and has_samples(op)
            coarse_fraction = auto if usable else None
        if coarse_fraction is not None:
            _check_fraction(op, coarse_fraction, initial, max_products)
        return cls(None if initial is None else _checked_initial(op, initial), coarse_fraction)

    @contextmanager
    def apply(self, op: SymmetricOperator, random: Tensor) -> Iterator[Tensor]:
        """Yields the start vector [size]. The operator keeps its graphs in this context.

        ``random`` is a random vector [size]: the start, its random part, or a replacement for a zero gradient. A coarse
        stage takes at most one product.
        """
        with keeping_graphs(op):
            if self.coarse_fraction is not None:
                assert isinstance(op, SampledOperator)
                yield _with_random_part(coarse_start(op, self.coarse_fraction, random), random)
            else:
                yield random if self.initial is None else _with_random_part(self.initial, random)


def _with_random_part(start: Tensor, random: Tensor) -> Tensor:
    length: Tensor = _RANDOM_PART * torch.linalg.vector_norm(start) / torch.linalg.vector_norm(random)
    return start + length * random


def _check_fraction(op: SymmetricOperator, fraction: float | str, initial: Tensor | None, max_products: int) -> None:
    if initial is not None:
        raise ValueError("initial and coarse_fraction are both given, expected one: the coarse stage finds the start")
    if isinstance(fraction, str) or not 0.0 < fraction < 1.0:
        raise ValueError(
            f"coarse_fraction is {fraction!r}, expected a share of the samples in (0, 1) (0.1 is usual), 'auto' or"
            " None (no coarse stage)"
        )
    if max_products < 2:
        raise ValueError(f"max_products is {max_products}, expected at least 2 with a coarse_fraction: 10 is usual")
    if not isinstance(op, SampledOperator):
        raise ValueError(
            f"coarse_fraction is {fraction}, but {type(op).__name__} has no in_chunks(fraction), expected an operator"
            " like HessianOperator: leave coarse_fraction out"
        )


def _checked_initial(op: SymmetricOperator, initial: Tensor) -> Tensor:
    if initial.shape != (op.size,):
        raise ValueError(f"initial has shape {tuple(initial.shape)}, expected ({op.size},): one entry per parameter")
    start = initial.detach().to(op.device, op.dtype)
    norm = float(torch.linalg.vector_norm(start))
    if norm == 0.0 or not math.isfinite(norm):
        raise ValueError(f"initial has length {norm}, expected a finite one above zero: pass None for a random start")
    return start
