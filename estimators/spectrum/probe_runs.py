"""Lanczos runs from random probes, in blocks that share the graphs of their products."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator, block_product
from estimators.operators.random_vectors import random_vector
from estimators.spectrum.probe_run import ProbeRun

# Bytes of the bases of probes that run together. A probe of 40 float32 vectors of a million parameters takes 160 MB.
BLOCK_BYTES = 2**29


def probe_runs(
    op: SymmetricOperator,
    count: int,
    steps: int,
    generator: torch.Generator | None,
    deflated: Tensor,
    enough: Callable[[ProbeRun], bool],
) -> Iterator[ProbeRun]:
    """Yields one run for each of ``count`` standard normal probes, projected to the complement of ``deflated``.

    A run ends after ``steps`` products, if its space is invariant, or as soon as ``enough`` returns True. Runs of one
    block keep their bases, up to 512 MiB; the bases of a block are dropped before the next one.
    """
    width = max(1, BLOCK_BYTES // (min(steps, op.size) * op.size * op.dtype.itemsize))
    for first in range(0, count, width):
        probes = [random_vector(op, generator) for _ in range(min(width, count - first))]
        yield from _block(op, [ProbeRun(op, probe, steps, deflated) for probe in probes], enough)


def _block(op: SymmetricOperator, runs: list[ProbeRun], enough: Callable[[ProbeRun], bool]) -> list[ProbeRun]:
    active = runs
    while active:
        for run, product in zip(active, _products(op, [run.last for run in active]), strict=True):
            run.extend(product)
        active = [run for run in active if not (run.complete or enough(run))]
    return runs


def _products(op: SymmetricOperator, vectors: list[Tensor]) -> list[Tensor]:
    if len(vectors) == 1:
        return [op.matvec(vectors[0])]
    # Contiguous copies, because dot products of a strided column may round differently.
    return [column.clone() for column in block_product(op, torch.stack(vectors, dim=1)).unbind(dim=1)]
