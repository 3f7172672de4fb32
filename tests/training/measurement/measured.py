"""Measures quantities of a small network in training, in float64, and its dense Hessian."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

from estimators import dense_hessian
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.record import Record
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.samples import Samples
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.optimizers.build import build_optimizer

SAMPLES = 60


@dataclass(frozen=True)
class Trained:
    """A network after some steps of an optimizer on one batch of all samples."""

    model: nn.Module
    optimizer: optim.Optimizer
    inputs: Tensor
    targets: Tensor
    config: TrialConfig
    steps: int

    def measure(self, *estimators: Any, number: int = 2) -> Record:
        """Returns a record with these quantities."""
        settings = {"fraction": 1.0, "estimators": list(estimators), "lanczos_products": 60, "lanczos_tolerance": 1e-9}
        measurement = Measurement(MeasurementConfig.model_validate(settings), 0, self.inputs, self.targets)
        record = Record(number, 0, step=self.steps, loss_train=1.0)
        return measurement.complete(record, self.model, Training(self.config, self.optimizer, self.data))

    @property
    def data(self) -> DataSplits:
        samples, nothing = Samples(self.inputs, self.targets), Samples(self.inputs[:0], self.targets[:0])
        one = torch.ones(1)
        return DataSplits(samples, nothing, nothing, one[:0], one, one, ("a", "b", "c"), "digest")

    @property
    def hessian(self) -> Tensor:
        """[size, size]."""
        return dense_hessian(self.model, cross_entropy, (self.inputs, self.targets))

    @property
    def gradient(self) -> Tensor:
        """[size]."""
        loss = cross_entropy(self.model(self.inputs), self.targets)
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(self.model.parameters()))])


def trained(
    optimizer: dict[str, Any], steps: int = 5, layer: Callable[[], nn.Module] = nn.ReLU, batch_size: int | str = "full"
) -> Trained:
    """Trains a network with one hidden layer of eight units for some steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), layer(), nn.Linear(8, 3)).double()
    inputs, targets = torch.randn(SAMPLES, 4).double(), torch.randint(3, (SAMPLES,))
    content = {"data": {"name": "digits"}, "epochs": 10, "batch_size": batch_size, "optimizer": optimizer}
    config = TrialConfig.model_validate(content)
    built = build_optimizer(config.optimizer, model.parameters())
    for _ in range(steps):
        built.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        built.step()
    return Trained(model, built, inputs, targets, config, steps)
