"""The curvature along the gradient against the dense Hessian."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from estimators import dense_hessian
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.catalogue import estimators_named
from orchestrator.study.record import Record
from orchestrator.training.measurement.measurement import Measurement


def test_the_value_agrees_with_the_dense_hessian() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs, targets = torch.randn(40, 6).double(), torch.randint(3, (40,))
    config = MeasurementConfig(estimators=estimators_named("gradient_curvature"))
    record = Measurement(config, 0, inputs, targets).complete(Record(1, 0, loss_train=1.0), model)
    parts = torch.autograd.grad(cross_entropy(model(inputs), targets), list(model.parameters()))
    gradient = torch.cat([part.flatten() for part in parts])
    hessian = dense_hessian(model, cross_entropy, (inputs, targets))
    expected = float(gradient @ hessian @ gradient / (gradient @ gradient))
    assert record.metrics()["gradient/curvature"] == pytest.approx(expected, rel=1e-12)
    assert record.hessian_products == 1
