"""The trace of the generalised Gauss-Newton matrix without probes: exact, and with one random vector per sample.

GGN = mean over samples of J_n'(d2l_n/dz_n2)J_n, for the loss l_n of sample n alone and the Jacobian J_n of its outputs
z_n (Schraudolph, 2002; Martens, 2020, section 8). With a root S_n S_n' = d2l_n/dz_n2,

    tr(GGN_n) = sum over the columns s of S_n of ||J_n's||^2,

whose sum over samples BackPACK's DiagGGNExact gives entry by entry (Dangel et al., 2020). Where the network is
piecewise linear in each single parameter tr(GGN) = tr(H), exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.per_sample.norms import Norms
from estimators.problem.checks import LossFunction
from estimators.problem.chunking import chunk_size_beside_columns
from estimators.problem.samples import Batches
from estimators.trace.trace_pass import Chunk, Contribution, GaussNewtonTrace, trace_pass

# With one vector per sample, every eighth sample gets a second one for the standard error: an eighth more work. Of few
# samples more, so that about this many tell the error.
_SHARE, _TWICE_AT_LEAST = 8, 64


@dataclass(frozen=True, eq=False)
class SampledGaussNewtonTrace(GaussNewtonTrace):
    """What :func:`estimators.sampled_trace` found: all numbers are unbiased estimates of those of the exact trace.

    ``sampling_error`` holds both errors, of the samples and of the signs: with s / sqrt(n) of noisy contributions one
    cannot tell them apart.
    """

    standard_error: float
    """Of ``value`` as an estimate of tr(GGN) of *these* samples: the error of the random signs alone, from samples that
    were given several vectors."""
    vectors: int
    """Random vectors per sample; some samples got one more where this is 1."""


def exact_trace(
    model: nn.Module, loss_fn: LossFunction, batches: Batches, chunk_size: int | None = None
) -> GaussNewtonTrace:
    """tr(GGN) of the mean loss, exactly, and per parameter and per sample; equal to tr(H) where ``.exact`` says so.

    Costs, in forward passes F: 1 + 2 (C - 1) for cross-entropy of C classes, 1 + 2 C for other losses of C outputs:
    a backward pass to the outputs of the layers for each column of S_n, and the norms of per-sample gradients.
    Parameters used outside the calls of their layers cost more. The model is left bitwise as found.

    Args:
        model: in the mode to be measured in; no active dropout, no batch norm in train mode.
        loss_fn: ``loss_fn(outputs, targets)``, a mean over samples; convex in the outputs or not.
        batches: an (inputs, targets) pair of tensors, or a re-iterable of such pairs in a fixed order.
        chunk_size: samples at a time, at most. None: on a CPU two thirds of :class:`estimators.HessianOperator`'s.

    Raises:
        ValueError: for what cannot be measured rightly; the message names the fix.

    >>> trace = exact_trace(nn.Linear(3, 1), nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> round(trace.value, 4), trace.exact, {name: round(share, 4) for name, share in trace.per_parameter.items()}
    (8.0, True, {'weight': 6.0, 'bias': 2.0})
    """
    return trace_pass(model, loss_fn, batches, chunk_size, _all_columns, chunk_size_beside_columns)


def sampled_trace(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Batches,
    vectors: int = 1,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> SampledGaussNewtonTrace:
    """An unbiased estimate of tr(GGN) for about the price of one gradient: ||J_n'S_n e||^2 for random signs e.

    Each sample gets signs of its own, so that the mean over n samples averages n estimates: on the paper's network the
    error was about 1% with 5,000 samples, and it falls with 1 / sqrt(n vectors). Costs 1 + 2.5 forward passes with one
    vector (every eighth sample gets a second one, for ``.standard_error``), 1 + 2 ``vectors`` with more; twice as many
    backward passes where the loss is not convex in the outputs.

    Args:
        model: as for :func:`exact_trace`, and so are loss_fn and batches.
        loss_fn: see there.
        batches: see there.
        vectors: random vectors per sample, at least 1.
        generator: the signs' stream, on any device; None: one seeded by torch's global CPU stream, which moves on. The
            chunk size changes no draw.
        chunk_size: samples at a time, at most. None: :class:`estimators.HessianOperator`'s.

    Raises:
        ValueError: for what cannot be measured rightly; the message names the fix.
    """
    if vectors < 1:
        raise ValueError(f"vectors is {vectors}, expected at least 1: one is enough for thousands of samples")
    estimate = _RandomSigns(vectors, generator)
    trace = trace_pass(model, loss_fn, batches, chunk_size, estimate, every=estimate.every)
    return SampledGaussNewtonTrace(**vars(trace), standard_error=estimate.standard_error(), vectors=vectors)


def _all_columns(chunk: Chunk) -> Contribution:
    """tr(GGN_n): the sum over all columns of the root."""
    count = chunk.root.count
    columns = (chunk.root.column(index) for index in range(count))
    return Contribution(chunk.norms.summed(columns, count), passes=count * chunk.samples)


class _RandomSigns:
    """Unbiased estimates of tr(GGN_n) by random signs, and the error that the signs leave in their mean."""

    def __init__(self, vectors: int, generator: torch.Generator | None) -> None:
        if generator is None:
            # The global stream itself is put back after measuring, and the next trace would draw the same signs.
            generator = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, ())))
        self._vectors, self._generator = vectors, generator
        # Per sample: how many estimates it has, the mean of their squares, and the variance of their mean, NaN of one.
        self._counts: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._variances: list[Tensor] = []

    def every(self, total: int) -> int | None:
        """One in how many samples is in its chunk twice, for a second vector."""
        return None if self._vectors > 1 else max(1, min(_SHARE, total // _TWICE_AT_LEAST))

    def __call__(self, chunk: Chunk) -> Contribution:
        norms: Norms = {}
        count: Tensor | float = 0.0
        first: Tensor | float = 0.0
        second: Tensor | float = 0.0
        passes = 0
        for signs in self._rounds(chunk):
            combinations = chunk.root.combinations(signs.to(chunk.norms.outputs))
            estimates = chunk.norms.summed(combinations, self._vectors * len(combinations))
            total = torch.stack(list(estimates.values())).sum(dim=0)
            count = count + chunk.folded(torch.ones_like(total))
            first, second = first + chunk.folded(total), second + chunk.folded(total.square())
            passes += len(combinations) * len(total)
            for name, values in estimates.items():
                folded = chunk.folded(values)
                norms[name] = norms[name] + folded if name in norms else folded
        assert isinstance(count, Tensor)
        assert isinstance(first, Tensor)
        self._counts.append(count)
        self._squares.append(second / count)
        self._variances.append(((second - first.square() / count) / (count - 1) / count).clamp(min=0.0))
        return Contribution({name: values / count for name, values in norms.items()}, passes)

    def standard_error(self) -> float:
        """Of the mean over all samples.

        The variance of a lone estimate is not known, its square is: few samples dominate both, so the ratio of the two
        over the samples with two vectors says more than their mean variance.
        """
        counts, squares, variances = (
            torch.cat(parts).cpu() for parts in (self._counts, self._squares, self._variances)
        )
        alone = counts == 1.0
        total = variances[~alone].sum()
        if alone.any() and total != 0.0:
            # A single estimate varies twice as much as the mean of two.
            total = total + 2.0 * total / squares[~alone].sum() * squares[alone].sum()
        return float(total.sqrt()) / len(counts)

    def _rounds(self, chunk: Chunk) -> Iterator[Tensor]:
        """Signs for one vector each of all that the chunk holds: drawn in the order of the samples."""
        counts = torch.full((chunk.samples,), self._vectors)
        counts[chunk.again] = 2
        signs = self._drawn(counts.tolist(), chunk.root.signs)
        first = counts.cumsum(0) - counts
        for index in range(self._vectors):
            yield signs[torch.cat([first + index, first[chunk.again] + 1]).to(signs.device)]

    def _drawn(self, counts: list[int], size: int) -> Tensor:
        """[sum of the counts, size]. A CPU's stream gives the same whether it is asked sample by sample or once."""
        where = self._generator.device
        asked = [sum(counts)] if where.type == "cpu" else counts
        drawn = [torch.randint(0, 2, (n, size), generator=self._generator, device=where) for n in asked]
        return torch.cat(drawn).mul_(2).sub_(1)
