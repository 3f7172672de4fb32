"""The trace of the Gauss-Newton matrix without probes: exact, or sampled with one random vector per sample.

GGN is the mean over samples of J_n'(d2l_n/dz_n2)J_n. Here l_n is the loss of sample n and J_n the Jacobian of its
outputs z_n (Schraudolph, 2002; Martens, 2020, section 8). With a root S_n S_n' = d2l_n/dz_n2,

    tr(GGN_n) = sum over the columns s of S_n of ||J_n's||^2.

BackPACK's DiagGGNExact computes the same sum for each diagonal entry of the GGN (Dangel et al., 2020). If the network
is piecewise linear in each single parameter, tr(GGN) = tr(H) exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.per_sample.norms import Norms
from estimators.problem.checks import LossFunction
from estimators.problem.chunking import exact_trace_chunk_size
from estimators.problem.problem import Problem
from estimators.problem.samples import Batches
from estimators.trace.trace_pass import Chunk, ChunkEstimator, GaussNewtonTrace, trace_pass

# With one vector per sample, every eighth sample gets a second vector to estimate the standard error, at an eighth of
# additional cost. If there are few samples, a larger share gets one, so that about 64 samples determine the error.
_REPEAT_EVERY, _MIN_REPEATED = 8, 64

# A sampled trace needs one pass per sample, so an eigendecomposition should not take longer: 256 outputs take 7 ms.
_MAX_ENTRIES = 256**2


@dataclass(frozen=True, eq=False)
class SampledGaussNewtonTrace(GaussNewtonTrace):
    """Result of `estimators.sampled_trace`. Its traces are unbiased estimates.

    ``sampling_error`` includes the error of the random signs, because s / sqrt(n) cannot separate the two.
    """

    standard_error: float
    """Standard error of ``value`` as an estimate of tr(GGN) over *these* samples.

    It is the error caused by the random signs, estimated from the samples with several vectors."""
    vectors: int
    """Random vectors per sample. If 1, a share of the samples had a second vector."""


def exact_trace(
    model: nn.Module, loss_fn: LossFunction, batches: Batches, chunk_size: int | None = None
) -> GaussNewtonTrace:
    """Computes tr(GGN) of the mean loss exactly, per parameter and per sample. It equals tr(H) if ``.exact`` is true.

    Costs 1 + 2 (C - 1) forward passes for cross-entropy of C classes (at each position), and up to 1 + 2 C for other
    losses of C outputs. If the loss couples more than 2,000 outputs, it costs 1 + 4 C. Each column of S_n needs a
    backward pass to the outputs of the layers, and the norms of per-sample gradients. Parameters used outside the calls
    of their layers cost more. The model is left bitwise unchanged.

    Args:
        model: in the mode to be measured; no active dropout, no batch norm in train mode.
        loss_fn: ``loss_fn(outputs, targets)``, a mean over samples; it need not be convex in the outputs.
        batches: an (inputs, targets) pair of tensors, or a re-iterable of such pairs in a fixed order.
        chunk_size: maximum samples at a time. None: two thirds of the default of `estimators.HessianOperator` on a CPU,
            and the same as its default on other devices.

    Raises:
        ValueError: if the trace cannot be computed correctly; the message says how to fix it.

    >>> trace = exact_trace(nn.Linear(3, 1), nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> round(trace.value, 4), trace.exact, {name: round(share, 4) for name, share in trace.per_parameter.items()}
    (8.0, True, {'weight': 6.0, 'bias': 2.0})
    """
    return exact_trace_of(Problem.of(model, loss_fn, batches), chunk_size)


def exact_trace_of(problem: Problem, chunk_size: int | None) -> GaussNewtonTrace:
    """As `exact_trace`."""
    return trace_pass(problem, chunk_size, _AllColumns())


def sampled_trace(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Batches,
    vectors: int = 1,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> SampledGaussNewtonTrace:
    """Estimates tr(GGN) without bias as the mean of ||J_n'S_n e||^2 with random signs e, for the cost of a gradient.

    Every sample has different signs, so the mean over n samples averages n estimates. The error decreases as
    1 / sqrt(n vectors). On the paper's network it was about 1% with 5,000 samples. Costs 1 + 2.5 forward passes with
    one vector (every eighth sample gets a second vector, for ``.standard_error``) and 1 + 2 ``vectors`` with more. Some
    losses take twice as many backward passes: those that are not convex in the outputs, and those with more than about
    256 outputs per sample that are neither a cross-entropy nor a sum over single outputs.

    Args:
        model: as for `exact_trace`.
        loss_fn: as for `exact_trace`.
        batches: as for `exact_trace`.
        vectors: random vectors per sample, at least 1.
        generator: draws the signs, on any device. None: a generator seeded by torch's global CPU generator, which
            advances. The draws do not depend on the chunk size.
        chunk_size: maximum samples at a time. None: the default of `estimators.HessianOperator`.

    Raises:
        ValueError: as `exact_trace`, or if vectors is below 1.
    """
    if vectors < 1:
        raise ValueError(f"vectors is {vectors}, expected at least 1: one is enough for thousands of samples")
    return sampled_trace_of(Problem.of(model, loss_fn, batches), chunk_size, vectors, generator)


def sampled_trace_of(
    problem: Problem, chunk_size: int | None, vectors: int, generator: torch.Generator | None
) -> SampledGaussNewtonTrace:
    """As `sampled_trace`."""
    estimator = _RandomSigns(vectors, generator)
    trace = trace_pass(problem, chunk_size, estimator)
    return SampledGaussNewtonTrace(**vars(trace), standard_error=estimator.standard_error(), vectors=vectors)


class _AllColumns(ChunkEstimator):
    """tr(GGN_n) as the sum over all columns of the root."""

    def contribution(self, chunk: Chunk) -> tuple[Norms, int]:
        count = chunk.root.count
        columns = (chunk.root.column(index) for index in range(count))
        return chunk.norms.summed(columns, count), count * chunk.samples

    def default_chunk_size(self, chunk_size: int, device: torch.device) -> int:
        return exact_trace_chunk_size(chunk_size, device)


class _RandomSigns(ChunkEstimator):
    """Unbiased estimates of tr(GGN_n) from random signs, and the standard error of their mean."""

    max_entries = _MAX_ENTRIES

    def __init__(self, vectors: int, generator: torch.Generator | None) -> None:
        if generator is None:
            # Measuring restores the global generator, so direct draws would be the same in every call.
            generator = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, ())))
        self._vectors, self._generator = vectors, generator
        # Per sample: the number of estimates, their mean square, and the variance of their mean (NaN for one estimate).
        self._counts: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._variances: list[Tensor] = []

    def repeat_every(self, samples: int) -> int | None:
        return None if self._vectors > 1 else max(1, min(_REPEAT_EVERY, samples // _MIN_REPEATED))

    def contribution(self, chunk: Chunk) -> tuple[Norms, int]:
        norms: Norms = {}
        passes = 0
        zero = chunk.norms.outputs.new_zeros(chunk.samples, dtype=torch.float64)
        count, first, second = zero, zero, zero
        for signs in self._rounds(chunk):
            combinations = chunk.root.combinations(signs.to(chunk.norms.outputs))
            estimates = chunk.norms.summed(combinations, self._vectors * len(combinations))
            total = torch.stack(list(estimates.values())).sum(dim=0)
            count = count + chunk.folded(torch.ones_like(total))
            first, second = first + chunk.folded(total), second + chunk.folded(total.square())
            passes += len(combinations) * len(total)
            for name, values in estimates.items():
                norms[name] = norms.get(name, zero) + chunk.folded(values)
        self._counts.append(count)
        self._squares.append(second / count)
        self._variances.append(((second - first.square() / count) / (count - 1) / count).clamp(min=0.0))
        return {name: values / count for name, values in norms.items()}, passes

    def standard_error(self) -> float:
        """Standard error of the mean over all samples.

        Variances are known only for samples with several vectors. They are extrapolated to the other samples: the sum
        of their squares is multiplied by the ratio of the two sums, of variances and of squares, over the samples with
        two vectors. This is more reliable than a mean variance, because the same few samples dominate both sums.
        """
        counts, squares, variances = (
            torch.cat(parts).cpu() for parts in (self._counts, self._squares, self._variances)
        )
        single = counts == 1.0
        total = variances[~single].sum()
        if single.any() and total != 0.0:
            # The variance of a single estimate is twice the variance of the mean of two.
            total = total + 2.0 * total / squares[~single].sum() * squares[single].sum()
        return float(total.sqrt()) / len(counts)

    def _rounds(self, chunk: Chunk) -> Iterator[Tensor]:
        """Yields the signs of one vector for each sample and repetition of the chunk, drawn in the order of samples."""
        counts = torch.full((chunk.samples,), self._vectors)
        counts[chunk.again] = 2
        signs = self._draw_signs(counts.tolist(), chunk.root.signs)
        first = counts.cumsum(0) - counts
        for index in range(self._vectors):
            yield signs[torch.cat([first + index, first[chunk.again] + 1]).to(signs.device)]

    def _draw_signs(self, counts: list[int], size: int) -> Tensor:
        """Signs [sum of the counts, size]. With a CPU generator they are the same as when drawn sample by sample."""
        device = self._generator.device
        draws = [sum(counts)] if device.type == "cpu" else counts
        drawn = [torch.randint(0, 2, (n, size), generator=self._generator, device=device) for n in draws]
        # A large vocabulary has millions of signs per sample.
        return torch.cat([part.to(torch.int8) for part in drawn]).mul_(2).sub_(1)
