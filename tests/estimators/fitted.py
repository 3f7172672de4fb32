"""Float32 networks that fit their data up to a given training loss."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.estimators.cases import Pair, seeded

Fitted = tuple[nn.Module, Pair]


def fitted(loss: float, seed: int = 0, activation: type[nn.Module] = nn.ReLU, binary: bool = False) -> Fitted:
    """A network of 3 clusters, or 2 with one output, whose last layer is scaled to the given cross-entropy."""
    random, classes = seeded(seed), 2 if binary else 3
    labels = torch.arange(12) % classes
    inputs = 2.0 * torch.eye(4, dtype=torch.float64)[labels] + 0.2 * torch.randn(12, 4, generator=random).double()
    body = nn.Sequential(nn.Linear(4, 6), activation()).double()
    last = nn.Linear(6, 1 if binary else 3).double()
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=random))
        features = torch.cat([body(inputs), torch.ones(12, 1, dtype=torch.float64)], dim=1)
        wanted = 2.0 * labels[:, None].double() - 1.0 if binary else 3.0 * torch.eye(3)[labels].double() - 1.0
        solution = torch.linalg.lstsq(features, wanted).solution.T
        low, high = 0.0, 1e3
        for _ in range(60):
            scale = (low + high) / 2
            last.weight.copy_(scale * solution[:, :-1])
            last.bias.copy_(scale * solution[:, -1])
            scores = last(body(inputs))
            scores = torch.cat([torch.zeros_like(scores), scores], dim=1) if binary else scores
            low, high = (scale, high) if float(cross_entropy(scores, labels)) > loss else (low, scale)
    targets = labels[:, None].float() if binary else labels
    return nn.Sequential(*body, last).float(), (inputs.float(), targets)


def in_double(model: nn.Module, pair: Pair) -> Fitted:
    """The same network and data in float64."""
    return copy.deepcopy(model).double(), tuple(_double(part) for part in pair)  # type: ignore[return-value]


def _double(part: Tensor) -> Tensor:
    return part.double() if part.is_floating_point() else part
