"""Batch sharpness of many minibatches by torch.func, independent of `estimators`. Small networks to measure it on."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from benchmarks.harness.images import batch
from orchestrator.training.data.data_splits import DataSplits

INPUTS, HIDDEN, CLASSES = 48, 16, 10
_TOGETHER = 256
"""Number of minibatches that are differentiated together."""


def small_problem(data: DataSplits, count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network of 954 parameters, and images pooled to 4x4 pixels with their labels, in float64."""
    images, labels = batch(data, count)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))
    return model.double(), adaptive_avg_pool2d(images, 4).flatten(1).double(), labels


def brute_force(model: nn.Module, inputs: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """g_B'H_B g_B / ||g_B||^2 [count] of the minibatches whose samples are the rows of `chosen` [count, size]."""
    values = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(at: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, at, (x,)), y)

    def quotient(x: Tensor, y: Tensor) -> Tensor:
        gradient, product = jvp(lambda at: grad(loss)(at, x, y), (values,), (grad(loss)(values, x, y),))  # type: ignore[misc]
        return _dot(gradient, product) / _dot(gradient, gradient)

    parts = [vmap(quotient)(inputs[part], labels[part]) for part in chosen.split(_TOGETHER)]
    return torch.cat(parts)


def _dot(first: dict[str, Tensor], second: dict[str, Tensor]) -> Tensor:
    return torch.stack([(first[name] * second[name]).sum() for name in first]).sum()


def independent(samples: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` minibatches [count, size], each drawn without replacement, independent of each other."""
    return torch.stack([torch.randperm(samples, generator=generator)[:size] for _ in range(count)])


def disjoint(samples: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` minibatches [count, size] without common samples."""
    return torch.randperm(samples, generator=generator)[: size * count].view(count, size)
