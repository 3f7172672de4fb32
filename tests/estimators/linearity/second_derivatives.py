"""Dense references for `linearity`: second derivatives computed by autograd, row by row."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tests.estimators.cases import seeded


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def curvature_diagonal(outputs: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """sum_c u_c d2z_c/dtheta_i^2 with random u, for the parameters that affect the outputs.

    With probability 1, an entry is zero only if the second derivative of every output is zero.
    """
    weights = torch.randn(outputs.shape, dtype=outputs.dtype, generator=seeded(11))
    return _hessian((weights * outputs).sum(), parameters).diagonal()


def trace_gap(outputs: Tensor, parameters: Sequence[Tensor]) -> float:
    """(tr(H) - tr(GGN)) / (|tr(H)| + tr(GGN)) for cross-entropy of the outputs [n, classes]."""
    targets = torch.arange(len(outputs)) % outputs.shape[1]
    loss = nn.functional.cross_entropy(outputs, targets)
    hessian = float(_hessian(loss, parameters).trace())
    jacobian = torch.stack([_gradient(output, parameters, False) for output in outputs.reshape(-1)])
    jacobian = jacobian.reshape(*outputs.shape, -1)
    p = torch.softmax(outputs.detach(), dim=1)
    blocks = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    gauss_newton = float(torch.einsum("nci,ncd,ndi->", jacobian, blocks, jacobian)) / len(outputs)
    return (hessian - gauss_newton) / (abs(hessian) + gauss_newton + 1e-30)


def _hessian(scalar: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The Hessian in the parameters that affect the scalar; the zero rows of the others are omitted."""
    parts = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    parameters = [parameter for parameter, part in zip(parameters, parts, strict=True) if part is not None]
    gradient = _gradient(scalar, parameters, True)
    if not gradient.requires_grad:
        return torch.zeros(len(gradient), len(gradient), dtype=gradient.dtype)
    return torch.stack([_gradient(entry, parameters, False) for entry in gradient])


def _gradient(scalar: Tensor, parameters: Sequence[Tensor], differentiable: bool) -> Tensor:
    if not scalar.requires_grad:
        return torch.cat([torch.zeros_like(parameter).reshape(-1) for parameter in parameters])
    parts = torch.autograd.grad(
        scalar, parameters, retain_graph=True, create_graph=differentiable, allow_unused=True, materialize_grads=True
    )
    return torch.cat([part.reshape(-1) for part in parts])
