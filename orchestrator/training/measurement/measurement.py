"""Measures the quantities that are due at a record."""

import os
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from estimators import HessianOperator
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.quantity import column_of
from orchestrator.study.quantities.quantity_config import QuantityConfig
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from orchestrator.study.record import Record, Value
from orchestrator.training.allocator import return_freed_memory
from orchestrator.training.loss import CROSS_ENTROPY, Loss
from orchestrator.training.measurement.context import Context, Training, Values
from orchestrator.training.measurement.measurers import MEASURERS

_LARGEST_BUDGET = 2 * 2**30
"""Maximum memory for kept graphs, in bytes. The graphs of 4,500 images in the paper's CNN take 0.8 GB."""


class Measurement:
    """Measures the mean training loss on a fixed subset, in eval mode and without weight decay.

    A measurement changes neither the model nor any global random generator, so training is bit-identical without it.
    The first measurement validates model, loss and data. Later ones are of the same network with other weights.
    ``clock`` returns seconds. Benchmarks on busy machines use CPU time.
    """

    def __init__(
        self,
        config: MeasurementConfig,
        seed: int,
        inputs: Tensor,
        targets: Tensor,
        loss: Loss = CROSS_ENTROPY,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config, self.seed, self.inputs, self.targets, self.loss = config, seed, inputs, targets, loss
        self._clock = clock
        self._validate = True

    def chunk_size(self, model: nn.Module) -> int:
        """Returns the number of samples in a chunk. The model must be in eval mode."""
        return self._operator(model).chunk_size

    def complete(self, record: Record, model: nn.Module, training: Training | None = None) -> Record:
        """Returns the record with all quantities that are due; unchanged if there is none or the trial has diverged.

        Args:
            record: the record so far.
            model: the model at the record.
            training: optimizer, data and config of the trial, which some quantities need.
        """
        if record.diverged or record.number % self.config.every:
            return record
        started = self._clock()
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            found = self._measure(self._context(record, model, training))
        finally:
            for module, mode in modes:
                module.training = mode
            return_freed_memory()
        self._validate = False
        return replace(
            record.with_values(found.values),
            failures=found.failures,
            time_per_quantity=found.seconds,
            time_measure_seconds=self._clock() - started,
        )

    def _context(self, record: Record, model: nn.Module, training: Training | None) -> Context:
        return Context(
            model=model,
            loss=self.loss,
            inputs=self.inputs,
            targets=self.targets,
            operator=self._operator(model),
            measurement=self.config,
            seed=self.seed,
            number=record.number,
            step=record.step or 0,
            training=training,
            validate=self._validate,
        )

    def _measure(self, context: Context) -> "_Found":
        found, order = _Found(self._clock), list(MEASURERS)
        due = sorted(self.config.due(context.number), key=lambda settings: order.index(type(settings)))
        keeping = [settings for settings in due if MEASURERS[type(settings)].keeps_graphs]
        with context.operator.keeping_graphs() if keeping else nullcontext():
            found.values["gradient/norm"] = context.gradient_norm
            found.add(context, keeping)
        found.add(context, [settings for settings in due if settings not in keeping])
        found.values["hessian/products"] = context.operator.products
        return found

    def _operator(self, model: nn.Module) -> HessianOperator:
        return HessianOperator(
            model,
            self.loss.mean,
            (self.inputs, self.targets),
            memory_budget=_memory_budget(self.inputs.device),
            validate=self._validate,
        )


@dataclass
class _Found:
    """What was measured so far."""

    clock: Callable[[], float]
    values: dict[str, Value] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _own: dict[str, str] = field(default_factory=dict)
    """Columns of the user's own quantities, with the function that returned them."""

    def add(self, context: Context, due: Sequence[QuantityConfig]) -> None:
        """Measures quantities. If the user's own function raises, its values are missing and the trial goes on."""
        for settings in due:
            started = self.clock()
            try:
                found = MEASURERS[type(settings)].measure(context, settings)
                if isinstance(settings, OwnQuantityConfig):
                    self._check_unique(settings.name, found)
                self.values |= found
            except Exception:
                if not isinstance(settings, OwnQuantityConfig):
                    raise
                self.failures[settings.name] = traceback.format_exc()
            self.seconds[settings.name] = self.clock() - started

    def _check_unique(self, name: str, found: Values) -> None:
        """Raises ValueError if another function of the user returned one of these keys. Columns count as keys."""
        for key in found:
            other = self._own.setdefault(column_of(key), name)
            if other != name:
                raise ValueError(
                    f"quantity {name!r} returned {key!r}, which {other!r} returned too: rename one of them"
                )


def _memory_budget(device: torch.device) -> int:
    """Returns the memory budget for kept graphs in bytes, a share of this trial's memory. It affects only the speed."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return min(_LARGEST_BUDGET, free // 4)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(_LARGEST_BUDGET, memory // 4 * torch.get_num_threads() // (os.cpu_count() or 1))
