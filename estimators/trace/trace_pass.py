"""One pass over the data that sums the contributions of each sample and parameter to tr(GGN)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from estimators.linearity.linearity import linearity
from estimators.per_sample.norms import ChunkNorms, Norms, SampleNorms
from estimators.problem.checks import check_deterministic, check_mode, evaluate_model
from estimators.problem.loss.mean_check import MeanCheck
from estimators.problem.loss.targets import check_targets
from estimators.problem.problem import Problem
from estimators.trace.loss_root import MAX_ENTRIES, loss_root
from estimators.trace.roots.root import LossRoot


@dataclass(frozen=True, eq=False)
class GaussNewtonTrace:
    """Result of `estimators.exact_trace`. Traces are in units of the loss per squared parameter."""

    value: float
    """tr(GGN) of the mean loss over these samples: the mean of ``per_sample``."""
    exact: bool
    """Whether tr(GGN) = tr(H) is proved for this network."""
    reason: str
    """Why the two traces are equal, or why they may differ."""
    sampling_error: float
    """Standard error of ``value`` as an estimate of the trace over the distribution of the samples.

    It is s / sqrt(n), with the standard deviation s of ``per_sample``; NaN for one sample. If the n samples were drawn
    at random from N samples, multiply by sqrt(1 - n / N) to get the error of the trace over all N."""
    backward_passes: float
    """Backward passes over all samples to the layers' outputs. Each costs about two forward passes, norms included."""
    per_parameter: Mapping[str, float] = field(repr=False)
    """Trace of each parameter's diagonal block, by parameter name. ``value`` is their sum."""
    per_sample: Tensor = field(repr=False)
    """[n], float64 on the CPU: tr(GGN) of each sample's loss."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """The outputs and loss root of a chunk of samples. The samples in ``again`` are repeated at the end."""

    samples: int
    """Number of samples without the repetitions."""
    again: slice
    norms: ChunkNorms
    root: LossRoot

    def folded(self, values: Tensor) -> Tensor:
        """Adds the values of repeated samples to the values of their originals. Returns [samples]."""
        sums = values[: self.samples].clone()
        sums[self.again] += values[self.samples :]
        return sums


class ChunkEstimator(ABC):
    """Computes or estimates the trace of a chunk."""

    max_entries = MAX_ENTRIES
    """Maximum number of entries of the loss's Hessian in a sample's outputs. A larger one is not decomposed."""

    @abstractmethod
    def contribution(self, chunk: Chunk) -> tuple[Norms, int]:
        """Maps each parameter to tr(GGN_n) or its estimate, [n] float64. Also returns backward passes times samples."""

    def default_chunk_size(self, chunk_size: int, device: torch.device) -> int:
        """The default chunk size, given the default chunk size of products."""
        return chunk_size

    def repeat_every(self, samples: int) -> int | None:
        """Stride of the samples to repeat within their chunk, given the number of samples. None repeats no sample."""
        return None


def trace_pass(problem: Problem, chunk_size: int | None, estimator: ChunkEstimator) -> GaussNewtonTrace:
    """The mean over samples of their contributions; see `estimators.exact_trace` for arguments and errors."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}, expected at least 1, or None for a default")
    check_mode(problem.model)
    with problem.measuring():
        two, targets = problem.first(2)
        outputs = evaluate_model(problem.model, two)
        check_targets(problem.loss_fn, outputs, targets)
        problem.check_loss_of_outputs()
        chunk_size = chunk_size or estimator.default_chunk_size(problem.default_chunk_size(), problem.device)
        first = problem.first(chunk_size)
        check_targets(problem.loss_fn, outputs, first[1])
        check_deterministic(problem.model, problem.loss_fn, *first)
        plan, sums = SampleNorms(problem.model, problem.parameters, two), _Sums(problem.parameters)
        mean_check = MeanCheck(problem.loss_fn)
        stride = estimator.repeat_every(problem.count)
        for inputs, targets in problem.chunks(chunk_size):
            again = slice(0) if stride is None else slice(-sums.samples % stride, None, stride)
            repeated = [torch.cat([part, part[again]]) if len(part[again]) else part for part in (inputs, targets)]
            norms = plan.chunk(repeated[0])
            root = loss_root(problem.loss_fn, norms.outputs, repeated[1], estimator.max_entries)
            mean_check.add(norms.outputs[: len(inputs)], targets)
            if sums.samples == 0:
                # Rejects a loss that is not a mean as early as after the first chunk.
                mean_check.conclude()
            sums.add(*estimator.contribution(Chunk(len(inputs), again, norms, root)))
            del norms, root  # Frees the graph before the next one is built.
        mean_check.conclude()
        found = linearity(problem.model, two)
    return sums.result(found.exact, found.reason)


class _Sums:
    """Sums of the contributions in float64, kept on the device until the end."""

    def __init__(self, parameters: Iterable[str]) -> None:
        self.samples = 0
        self._passes = 0
        self._per_sample: list[Tensor] = []
        self._per_parameter: dict[str, list[Tensor]] = {name: [] for name in parameters}

    def add(self, norms: Norms, passes: int) -> None:
        per_sample = torch.stack(list(norms.values())).sum(dim=0)
        self.samples += len(per_sample)
        self._passes += passes
        self._per_sample.append(per_sample)
        for name, values in norms.items():
            self._per_parameter[name].append(values.sum())

    def result(self, exact: bool, reason: str) -> GaussNewtonTrace:
        per_sample = torch.cat(self._per_sample).cpu()
        chunk_sums = torch.stack([torch.stack(sums) for sums in self._per_parameter.values()]).cpu().tolist()
        names = self._per_parameter
        return GaussNewtonTrace(
            value=math.fsum(per_sample.tolist()) / self.samples,
            exact=exact,
            reason=reason,
            sampling_error=float(per_sample.std() / math.sqrt(self.samples)) if self.samples > 1 else math.nan,
            backward_passes=self._passes / self.samples,
            per_parameter={name: math.fsum(s) / self.samples for name, s in zip(names, chunk_sums, strict=True)},
            per_sample=per_sample,
        )
