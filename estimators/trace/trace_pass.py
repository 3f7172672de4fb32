"""One pass over the data that sums what each sample and parameter contributes to tr(GGN)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from estimators.linearity.linearity import linearity
from estimators.per_sample.norms import ChunkNorms, Norms, SampleNorms
from estimators.problem.checks import LossFunction, MeanCheck, check_deterministic, check_mode, checked_parameters
from estimators.problem.chunking import default_chunk_size
from estimators.problem.isolation import measuring
from estimators.problem.samples import Batches, Samples
from estimators.trace.loss_root import LossRoot, check_targets, loss_root


@dataclass(frozen=True, eq=False)
class GaussNewtonTrace:
    """Result of :func:`estimators.exact_trace`. Traces are in units of the loss per squared parameter."""

    value: float
    """tr(GGN) of the mean loss over these samples: the mean of ``per_sample``."""
    exact: bool
    """Whether tr(GGN) = tr(H) is proved for this network."""
    reason: str
    """Why the two traces are equal, or why they may differ."""
    sampling_error: float
    """Standard error of ``value`` as an estimate of the trace over the distribution of the samples.

    s / sqrt(n) of ``per_sample``, NaN for one sample. For the trace over N samples, n of which were drawn at random,
    multiply by sqrt(1 - n / N)."""
    backward_passes: float
    """Backward passes to the layers' outputs, over all samples. With its norms, one costs about two forward passes."""
    per_parameter: Mapping[str, float] = field(repr=False)
    """Trace of each parameter's diagonal block, by parameter name. ``value`` is their sum."""
    per_sample: Tensor = field(repr=False)
    """[n], float64 on the CPU: tr(GGN) of each sample's loss."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """The outputs and loss root of some samples. Those in ``again`` are repeated at the end."""

    samples: int
    """Number of samples without the repetitions."""
    again: slice
    norms: ChunkNorms
    root: LossRoot

    def folded(self, values: Tensor) -> Tensor:
        """Adds the values of the repetitions to those of their samples, [samples]."""
        sums = values[: self.samples].clone()
        sums[self.again] += values[self.samples :]
        return sums


class ChunkEstimator(ABC):
    """How the trace of a chunk is computed."""

    @abstractmethod
    def contribution(self, chunk: Chunk) -> tuple[Norms, int]:
        """tr(GGN_n) or an estimate of it ([n], float64, by parameter), and backward passes times samples."""

    def default_chunk_size(self, chunk_size: int, device: torch.device) -> int:
        """The default chunk size, given that of products."""
        return chunk_size

    def repeat_every(self, samples: int) -> int | None:
        """The stride of the samples that are repeated in their chunk, given the number of samples. None: no sample."""
        return None


def trace_pass(
    model: nn.Module, loss_fn: LossFunction, batches: Batches, chunk_size: int | None, estimator: ChunkEstimator
) -> GaussNewtonTrace:
    """The mean over samples of their contributions; see :func:`estimators.exact_trace` for arguments and errors."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}, expected at least 1, or None for a default")
    device = checked_parameters(model)[0].device
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    check_mode(model)
    with measuring(model, device):
        samples = Samples(batches)
        inputs, targets = samples.first(2, device)
        with torch.no_grad():
            outputs = model(inputs)
        _check_targets(loss_fn, outputs, targets)
        size = chunk_size or estimator.default_chunk_size(default_chunk_size(model, loss_fn, inputs, targets), device)
        first = samples.first(size, device)
        _check_targets(loss_fn, outputs, first[1])
        check_deterministic(model, loss_fn, *first)
        plan, sums = SampleNorms(model, parameters, inputs), _Sums(parameters)
        mean_check = MeanCheck(loss_fn)
        stride = estimator.repeat_every(samples.count)
        for inputs, targets in samples.chunks(size, device):
            again = slice(0) if stride is None else slice(-sums.samples % stride, None, stride)
            chunk = _chunk(plan, loss_fn, inputs, targets, again)
            mean_check.add(chunk.norms.outputs[: len(inputs)], targets)
            if sums.samples == 0:
                # A loss that is no mean fails here, before the whole pass.
                mean_check.conclude()
            sums.add(*estimator.contribution(chunk))
            del chunk  # Frees its graph before the next one is built.
        mean_check.conclude()
        found = linearity(model, samples.first(2, device)[0])
    return sums.result(found.exact, found.reason)


def _check_targets(loss_fn: LossFunction, outputs: object, targets: Tensor) -> None:
    # Outputs of another kind have an error of their own.
    if isinstance(outputs, Tensor) and outputs.ndim > 0:
        check_targets(loss_fn, torch.Size([len(targets), *outputs.shape[1:]]), targets)


def _chunk(plan: SampleNorms, loss_fn: LossFunction, inputs: Tensor, targets: Tensor, again: slice) -> Chunk:
    samples = len(inputs)
    if len(inputs[again]):
        inputs, targets = (torch.cat([part, part[again]]) for part in (inputs, targets))
    norms = plan.chunk(inputs)
    return Chunk(samples, again, norms, loss_root(loss_fn, norms.outputs, targets))


class _Sums:
    """Sums of the contributions: float64, on the device until the end."""

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
