"""The largest eigenvalue of the Gauss-Newton matrix against the dense matrix."""

import pytest
import torch
from torch.func import functional_call, jacrev

from tests.training.measurement.measured import SAMPLES, trained


def test_lambda_max_agrees_with_the_dense_matrix() -> None:
    at = trained({"name": "sgd", "lr": 0.1}, layer=torch.nn.Tanh)
    weights = {name: parameter.detach() for name, parameter in at.model.named_parameters()}
    jacobians = jacrev(lambda values: functional_call(at.model, values, (at.inputs,)))(weights)
    flat = torch.cat([part.reshape(SAMPLES, 3, -1) for part in jacobians.values()], dim=2)
    p = at.model(at.inputs).softmax(dim=1).detach()
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    dense = torch.einsum("nci,ncd,ndj->ij", flat, inner, flat) / SAMPLES
    found = at.measure({"name": "gauss_newton", "products": 60, "tolerance": 1e-9}).metrics()
    assert found["gauss_newton/lambda_max"] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-8)
    assert found["gauss_newton/lambda_max_residual"] < 1e-3
