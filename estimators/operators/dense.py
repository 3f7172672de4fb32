"""The whole Hessian, row by row: slow, plain, and the oracle of every test."""

import torch
from torch import Tensor, nn

from estimators.problem.checks import (
    LossFunction,
    MeanCheck,
    check_deterministic,
    check_mode,
    checked_parameters,
    evaluate,
)
from estimators.problem.isolation import measuring
from estimators.problem.samples import Batches, Samples

# A float64 Hessian of this size takes 800 MB, and as many backward passes.
_LARGEST = 10_000


def dense_hessian(model: nn.Module, loss_fn: LossFunction, batches: Batches) -> Tensor:
    """The Hessian [size, size] of the model's mean loss over all samples of ``batches``, differentiated as one batch.

    Rows and columns as in :class:`estimators.HessianOperator`, and the same arguments and refusals. Use float64.

    Raises:
        ValueError: above 10,000 parameters, or for what cannot be measured rightly.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> dense_hessian(model, nn.functional.mse_loss, (torch.eye(2), torch.zeros(2, 1)))
    tensor([[1., 0.],
            [0., 1.]])
    """
    parameters = checked_parameters(model)
    size = sum(parameter.numel() for parameter in parameters)
    if size > _LARGEST:
        raise ValueError(
            f"the model has {size} parameters that require grad, expected at most {_LARGEST} for a dense Hessian:"
            " use HessianOperator with lanczos and hutchinson"
        )
    check_mode(model)
    device = parameters[0].device
    with measuring(model, device):
        inputs, targets = Samples(batches).whole(device)
        check_deterministic(model, loss_fn, inputs, targets)
        outputs, loss = evaluate(model, loss_fn, inputs, targets)
        mean_check = MeanCheck(loss_fn)
        mean_check.add(outputs, targets)
        mean_check.conclude()
        return _rows(loss, parameters, size)


def _rows(loss: Tensor, parameters: list[nn.Parameter], size: int) -> Tensor:
    hessian = torch.zeros(size, size, dtype=parameters[0].dtype, device=parameters[0].device)
    if not loss.requires_grad:
        return hessian
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    gradient = torch.cat([part.reshape(-1) for part in gradients])
    if not gradient.requires_grad:
        return hessian
    for row, entry in zip(hessian, gradient, strict=True):
        parts = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        row.copy_(torch.cat([part.reshape(-1) for part in parts]))
    return hessian
