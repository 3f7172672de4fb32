"""The trace of the gradient covariance against per-sample gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.training.measurement.measured import SAMPLES, trained


def test_the_trace_agrees_with_per_sample_gradients() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    rows = []
    for n in range(SAMPLES):
        loss = cross_entropy(at.model(at.inputs[n : n + 1]), at.targets[n : n + 1])
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(at.model.parameters()))]))
    covariance = torch.stack(rows).T.cov()
    found = at.measure("gradient_noise").metrics()
    assert found["gradient/noise_trace"] == pytest.approx(float(covariance.trace()), rel=1e-10)
    assert 0 < found["gradient/noise_trace_standard_error"] < found["gradient/noise_trace"]
