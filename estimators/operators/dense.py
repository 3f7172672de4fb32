"""The dense Hessian, computed row by row. It is slow and simple, and serves as a reference for tests."""

import torch
from torch import Tensor, nn

from estimators.problem.checks import LossFunction, evaluate_loss, evaluate_model
from estimators.problem.loss.mean_check import MeanCheck
from estimators.problem.loss.targets import check_targets
from estimators.problem.problem import Problem
from estimators.problem.samples import Batches

# Maximum number of parameters. A float64 Hessian of this size takes 800 MB and one backward pass per row.
_LARGEST = 10_000


def dense_hessian(model: nn.Module, loss_fn: LossFunction, batches: Batches) -> Tensor:
    """Computes the Hessian [size, size] of the model's mean loss over all samples of ``batches``.

    Each batch is evaluated whole. Arguments and errors are those of `estimators.HessianOperator`, and rows
    have the order of its vectors. Use a float64 model for an accurate reference.

    Raises:
        ValueError: above 10,000 parameters, or if model, loss or data cannot be measured.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> dense_hessian(model, nn.functional.mse_loss, (torch.eye(2), torch.zeros(2, 1)))
    tensor([[1., 0.],
            [0., 1.]])
    """
    problem = Problem.of(model, loss_fn, batches)
    if problem.size > _LARGEST:
        raise ValueError(
            f"the model has {problem.size} parameters that require grad, expected at most {_LARGEST} for a dense"
            " Hessian: use HessianOperator with lanczos and hutchinson"
        )
    with problem.measuring():
        problem.check_first_chunk(problem.count)
        problem.check_second_derivatives()
        mean_check = MeanCheck(loss_fn)
        total = torch.zeros(problem.size, problem.size, dtype=problem.dtype, device=problem.device)
        for inputs, targets in problem.chunks(problem.count):
            outputs = evaluate_model(model, inputs)
            check_targets(loss_fn, outputs, targets)
            mean_check.add(outputs, targets)
            loss = evaluate_loss(problem.precise_loss(outputs, targets), outputs, targets)
            gradient = problem.flat_gradient(loss, create_graph=True)
            rows = torch.stack([problem.flat_gradient(entry) for entry in gradient])
            total += rows * (len(inputs) / problem.count)
        mean_check.conclude()
    return total
