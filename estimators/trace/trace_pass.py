"""One pass over the data that adds up what every sample and parameter contributes to tr(GGN)."""

import math
from collections.abc import Callable, Iterable, Mapping
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
    """What :func:`estimators.exact_trace` found. Traces are in units of the loss per squared parameter."""

    value: float
    """tr(GGN) of the mean loss over these samples: the mean of ``per_sample``."""
    exact: bool
    """Is tr(GGN) = tr(H) for this network? True only where that is proved; ``reason`` says why."""
    reason: str
    """What makes the two traces equal, or what may set them apart."""
    sampling_error: float
    """The standard error of ``value`` as an estimate of the trace over the distribution that the samples were drawn
    from: s / sqrt(n) of ``per_sample``, NaN for one sample. For the trace over N samples of which these are n random
    ones, multiply by sqrt(1 - n / N)."""
    backward_passes: float
    """Backward passes to the layers' outputs, over all samples; each with its norms costs about two forward passes."""
    per_parameter: Mapping[str, float] = field(repr=False)
    """The trace of each parameter's own diagonal block, by its name in the model; ``value`` is their sum."""
    per_sample: Tensor = field(repr=False)
    """[n], float64 on the CPU: tr(GGN) of each sample's loss alone."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some samples, those in ``again`` a second time at the end, with their outputs and the root of their loss."""

    samples: int
    """Without the second times."""
    again: slice
    norms: ChunkNorms
    root: LossRoot

    def folded(self, values: Tensor) -> Tensor:
        """Of values of all that the chunk holds, [samples]: those of both times added up."""
        sums = values[: self.samples].clone()
        sums[self.again] += values[self.samples :]
        return sums


@dataclass(frozen=True, eq=False)
class Contribution:
    """tr(GGN_n), or an estimate of it, for the samples of a chunk."""

    norms: Norms
    """[n], float64, by parameter."""
    passes: int
    """Backward passes, times the samples they were over."""


def trace_pass(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Batches,
    chunk_size: int | None,
    contribution: Callable[[Chunk], Contribution],
    usual: Callable[[int, torch.device], int] = lambda size, _: size,
    every: Callable[[int], int | None] = lambda _: None,
) -> GaussNewtonTrace:
    """The mean of all samples' contributions; see :func:`estimators.exact_trace` for arguments and refusals.

    ``usual`` is the chunk size where none is given, by that of products and the device. ``every`` says, of how many
    samples there are, which multiples are to be in their chunk twice; None: no sample.
    """
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
        size = chunk_size or usual(default_chunk_size(model, loss_fn, inputs, targets), device)
        first = samples.first(size, device)
        _check_targets(loss_fn, outputs, first[1])
        check_deterministic(model, loss_fn, *first)
        plan, sums = SampleNorms(model, parameters, inputs), _Sums(parameters)
        mean_check = MeanCheck(loss_fn)
        for inputs, targets in samples.chunks(size, device):
            again = _multiples(every(samples.count), sums.samples)
            chunk = _chunk(plan, loss_fn, inputs, targets, again)
            mean_check.add(chunk.norms.outputs[: len(inputs)], targets)
            if sums.samples == 0:
                # Before the whole pass is spent on a loss that is no mean.
                mean_check.conclude()
            sums.add(contribution(chunk))
            del chunk  # With its graph, before the next one is built.
        mean_check.conclude()
        found = linearity(model, samples.first(2, device)[0])
    return sums.result(found.exact, found.reason)


def _check_targets(loss_fn: LossFunction, outputs: object, targets: Tensor) -> None:
    # What is no tensor with a row a sample has a message of its own.
    if isinstance(outputs, Tensor) and outputs.ndim > 0:
        check_targets(loss_fn, torch.Size([len(targets), *outputs.shape[1:]]), targets)


def _multiples(stride: int | None, start: int) -> slice:
    """Which of the samples from ``start`` on are multiples of a stride."""
    return slice(0) if stride is None else slice(-start % stride, None, stride)


def _chunk(plan: SampleNorms, loss_fn: LossFunction, inputs: Tensor, targets: Tensor, again: slice) -> Chunk:
    samples = len(inputs)
    if len(inputs[again]):
        inputs, targets = (torch.cat([part, part[again]]) for part in (inputs, targets))
    norms = plan.chunk(inputs)
    return Chunk(samples, again, norms, loss_root(loss_fn, norms.outputs, targets))


class _Sums:
    """Contributions so far: float64, on the device until the end."""

    def __init__(self, parameters: Iterable[str]) -> None:
        self.samples = 0
        self._passes = 0
        self._per_sample: list[Tensor] = []
        self._per_parameter: dict[str, list[Tensor]] = {name: [] for name in parameters}

    def add(self, contribution: Contribution) -> None:
        per_sample = torch.stack(list(contribution.norms.values())).sum(dim=0)
        self.samples += len(per_sample)
        self._passes += contribution.passes
        self._per_sample.append(per_sample)
        for name, norms in contribution.norms.items():
            self._per_parameter[name].append(norms.sum())

    def result(self, exact: bool, reason: str) -> GaussNewtonTrace:
        per_sample = torch.cat(self._per_sample).cpu()
        per_parameter = torch.stack([torch.stack(sums) for sums in self._per_parameter.values()]).cpu().tolist()
        value = math.fsum(per_sample.tolist()) / self.samples
        return GaussNewtonTrace(
            value=value,
            exact=exact,
            reason=reason,
            sampling_error=float(per_sample.std() / math.sqrt(self.samples)) if self.samples > 1 else math.nan,
            backward_passes=self._passes / self.samples,
            per_parameter={
                name: math.fsum(sums) / self.samples
                for name, sums in zip(self._per_parameter, per_parameter, strict=True)
            },
            per_sample=per_sample,
        )
