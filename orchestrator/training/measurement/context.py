"""What a quantity can use when it is measured."""

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn, optim

from estimators import (
    HessianOperator,
    HessianTrace,
    LanczosResult,
    TopEigenvalues,
    hessian_trace,
    lanczos,
    top_eigenvalues,
)
from estimators.operators.inner_products import norm
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.quantities.settings.top_eigenvalues import TopEigenvaluesConfig
from orchestrator.study.record import Value
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.loss import Loss
from orchestrator.training.streams import stream

Values = Mapping[str, Value]
"""The values of a quantity, by key."""


class Training:
    """The training that a measurement interrupts.

    Args:
        config: config of the trial.
        optimizer: its optimizer.
        data: its data.
    """

    def __init__(self, config: TrialConfig, optimizer: optim.Optimizer, data: DataSplits) -> None:
        self.config, self.data = config, data
        self._optimizer = optimizer
        self._before_use: Callable[[optim.Optimizer], None] | None = None

    @property
    def optimizer(self) -> optim.Optimizer:
        """The optimizer, with its state."""
        call, self._before_use = self._before_use, None
        if call:
            call(self._optimizer)
        return self._optimizer

    @contextmanager
    def before_use(self, call: Callable[[optim.Optimizer], None], known: Container[object]) -> Iterator[None]:
        """Within the context, `call` gets the optimizer before anyone uses it: at once if it is among those known."""
        self._before_use = call
        if self._optimizer in known:
            _ = self.optimizer
        try:
            yield
        finally:
            self._before_use = None


@dataclass(frozen=True, eq=False)
class Context:
    """A record of a trial, at which quantities are measured. The model is in eval mode and must not be changed."""

    model: nn.Module
    loss: Loss
    """The loss of the trial, as a mean and as a sum over samples."""
    inputs: Tensor
    """The inputs [n, ...] of the measurement subset, on the model's device."""
    targets: Tensor
    """Their targets [n, ...]."""
    operator: HessianOperator
    """The Hessian of the mean loss over the measurement subset."""
    measurement: MeasurementConfig
    seed: int
    """The seed of the trial."""
    number: int
    """The number of the record."""
    step: int
    """Optimizer steps before the record."""
    training: Training | None = None
    """Optimizer, data and config of the trial; None if a model is measured without a trial."""
    validate: bool = True
    """Whether operators have to validate the model, because this is its first measurement in this process."""

    def stream(self, purpose: str) -> torch.Generator:
        """Returns a random generator for this record and purpose, on the CPU. Draws for one purpose affect no other."""
        return stream(self.seed, purpose, self.number)

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient [size] of the mean loss."""
        return self.operator.gradient()

    @property
    def gradient_norm(self) -> float:
        """The 2-norm of the gradient."""
        return float(norm(self.gradient))

    @cached_property
    def lanczos(self) -> LanczosResult:
        """The result of Lanczos iteration with the settings of the measurement. All quantities share it."""
        return lanczos(
            self.operator,
            self.measurement.lanczos_products,
            tolerance=self.measurement.lanczos_tolerance,
            generator=self.stream("lanczos start"),
            coarse_fraction=self.measurement.lanczos_coarse_fraction or None,
        )

    @cached_property
    def top_eigenvalues(self) -> TopEigenvalues | None:
        """The largest eigenvalues, if they are due. Continues from `lanczos` if that is due too."""
        due = (each for each in self.measurement.due(self.number) if isinstance(each, TopEigenvaluesConfig))
        settings = next(due, None)
        if settings is None:
            return None
        initial = self.lanczos if self.is_due("lanczos") else None
        return top_eigenvalues(
            self.operator,
            min(settings.k, self.operator.size),
            tolerance=settings.tolerance,
            max_products=settings.products,
            generator=self.stream("top eigenvalues start"),
            initial=initial,
        )

    @property
    def lambda_max(self) -> tuple[float, float]:
        """The best estimate of the largest eigenvalue, and its residual."""
        if self.top_eigenvalues is not None:
            return float(self.top_eigenvalues.values[0]), float(self.top_eigenvalues.residuals[0])
        return self.lanczos.lambda_max, self.lanczos.residual

    @property
    def shared_eigenpairs(self) -> TopEigenvalues | LanczosResult | None:
        """The most eigenpairs that a quantity of this record finds; None if no such quantity is due."""
        return self.top_eigenvalues or (self.lanczos if self.is_due("lanczos") else None)

    @cached_property
    def trace(self) -> HessianTrace:
        """The trace of the Hessian, sampled if the measurement samples it. All quantities share it."""
        sampled = any(each.name == "sampled_trace" for each in self.measurement.estimators)
        return hessian_trace(self.operator, sampled=sampled, generator=self.stream("trace signs"))

    def is_due(self, quantity: str) -> bool:
        """Whether a built-in quantity is measured at this record."""
        return any(each.name == quantity for each in self.measurement.due(self.number))

    def required_training(self, quantity: str) -> Training:
        """Returns the training.

        Raises:
            ValueError: if there is none.
        """
        if self.training is None:
            raise ValueError(f"{quantity} needs the optimizer and the data of a trial, and only a model is measured")
        return self.training


Measure = Callable[..., Values]
"""Measures a quantity: ``measure(context, settings)``."""
