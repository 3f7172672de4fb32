"""Minibatches of the test cases, and their gradients by plain torch."""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.estimators.cases import Case, Pair, as_list


def minibatches(case: Case, size: int = 3) -> list[Pair]:
    """The samples of a case in whole minibatches."""
    inputs, targets = (torch.cat(parts) for parts in zip(*as_list(case.batches()), strict=True))
    count = len(inputs) // size
    return [(inputs[i * size : (i + 1) * size], targets[i * size : (i + 1) * size]) for i in range(count)]


def gradient_of(case: Case, batch: Pair) -> Tensor:
    """The gradient [size] of a case's loss on a batch."""
    model = case.model()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with sdpa_kernel(SDPBackend.MATH):
        loss = case.loss_fn(model(batch[0]), batch[1])
        parts = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return torch.cat([part.reshape(-1) for part in parts])
