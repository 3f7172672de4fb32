"""Hessian and Gauss-Newton matrix of a case, computed by plain torch without any code of `estimators`."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.estimators.cases import Case, as_list


@dataclass(frozen=True, eq=False)
class Reference:
    """Matrices [size, size] of the mean loss over all samples, as one batch."""

    hessian: Tensor
    gauss_newton: Tensor


@cache
def reference(case: Case) -> Reference:
    """The matrices of a case in float64. The Gauss-Newton matrix is J'(Hessian in the outputs)J."""
    model = case.model()
    inputs, targets = (torch.cat(parts) for parts in zip(*as_list(case.batches()), strict=True))
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    sizes = [parameter.numel() for parameter in parameters.values()]

    def outputs(vector: Tensor) -> Tensor:
        parts = zip(parameters.items(), vector.split(sizes), strict=True)
        found: Tensor = functional_call(model, {n: part.view_as(p) for (n, p), part in parts}, (inputs,))
        return found

    def loss(found: Tensor) -> Tensor:
        return case.loss_fn(found, targets)

    at = torch.cat([parameter.detach().reshape(-1) for parameter in parameters.values()])
    with sdpa_kernel(SDPBackend.MATH):
        z = outputs(at).detach()
        jac = jacobian(outputs, at).reshape(z.numel(), -1)
        curvature = hessian(loss, z).reshape(z.numel(), z.numel())
        return Reference(hessian(lambda vector: loss(outputs(vector)), at, vectorize=True), jac.T @ curvature @ jac)
