"""Tests `linearity` on small random networks: exact requires a zero diagonal, and most zero diagonals are exact."""

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from estimators import linearity
from tests.estimators.cases import seeded
from tests.estimators.linearity.second_derivatives import curvature_diagonal, trace_gap, trainable

NETWORKS = 60
WIDTH = 3


def in_place(a: Tensor, b: Tensor, w: Tensor, v: Tensor) -> Tensor:
    result = a.clone()
    result[:, 1:] += b[:, :2]
    result[:, :2].relu_()
    return result


def curved_in_place(a: Tensor, b: Tensor, w: Tensor, v: Tensor) -> Tensor:
    result = a.clone()
    result[:, :2].tanh_()
    return result + b


# Functions of two earlier tensors [n, 3], and of parameters: a matrix [3, 3] and a vector [3].
Operation = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
MILD: list[Operation] = [
    lambda a, b, w, v: a @ w,
    lambda a, b, w, v: F.linear(a, w, v),
    lambda a, b, w, v: F.conv1d(a[:, None], w[:1, None], v[:1], padding=1)[:, 0],
    lambda a, b, w, v: torch.einsum("ni,ij,j->ni", a, w, v),
    lambda a, b, w, v: a.relu(),
    lambda a, b, w, v: F.leaky_relu(a) + b,
    lambda a, b, w, v: F.prelu(a, v),
    lambda a, b, w, v: a - 0.5 * b,
    lambda a, b, w, v: a * v,
    lambda a, b, w, v: torch.cat([a, b], 1)[:, 1:4],
    lambda a, b, w, v: torch.maximum(a, b),
    lambda a, b, w, v: torch.where(a > b, a, -b),
    lambda a, b, w, v: a * torch.sigmoid(b.detach()),
    lambda a, b, w, v: a / (b.detach().abs() + 1.0),
    lambda a, b, w, v: F.batch_norm(a, torch.zeros_like(v), torch.ones_like(v), v, w[0]),
    lambda a, b, w, v: F.layer_norm(a.detach(), (WIDTH,), v, w[0]) + b,
    lambda a, b, w, v: a.sort(1).values.cumsum(1),
    lambda a, b, w, v: a + b.tanh().round(),
    lambda a, b, w, v: F.gelu(a.detach()) + b,
    in_place,
]
RISKY: list[Operation] = [
    lambda a, b, w, v: a * b,
    lambda a, b, w, v: torch.einsum("ni,ij,nj->nj", a, w, b),
    lambda a, b, w, v: a.tanh(),
    lambda a, b, w, v: F.gelu(a) + b,
    lambda a, b, w, v: a.softmax(1),
    lambda a, b, w, v: b / (a.abs() + 1.0),
    lambda a, b, w, v: F.layer_norm(a, (WIDTH,), v),
    lambda a, b, w, v: F.normalize(a + 1.0),
    lambda a, b, w, v: a**2,
    curved_in_place,
]


class RandomNetwork(nn.Module):
    """A chain of operations on earlier results. Half of them have their own parameters, the others may share."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw, generator = random.Random(seed), seeded(seed)
        length = draw.randint(3, 6)
        self.steps = [
            (
                draw.choice(RISKY if draw.random() < 0.3 else MILD),
                position if draw.random() < 0.8 else draw.randint(0, position),
                draw.randint(0, position),
                position if draw.random() < 0.5 else draw.randrange(length),
            )
            for position in range(length)
        ]
        draws = [torch.randn(WIDTH + 1, WIDTH, dtype=torch.float64, generator=generator) for _ in range(length + 1)]
        self.matrices = nn.ParameterList([draw[1:] for draw in draws])
        self.vectors = nn.ParameterList([draw[0] for draw in draws])
        self.matrices[draw.randrange(length)].requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        made = [inputs]
        for operation, first, second, own in self.steps:
            made.append(operation(made[first], made[second], self.matrices[own], self.vectors[own]))
        return F.linear(made[-1], self.matrices[-1], self.vectors[-1])


def test_exact_networks_have_a_zero_diagonal_and_most_others_do_not() -> None:
    inputs = torch.randn(2, WIDTH, dtype=torch.float64, generator=seeded(1))
    exact, harmless = 0, 0
    for seed in range(NETWORKS):
        model = RandomNetwork(seed)
        found = linearity(model, inputs)
        outputs = model(inputs)
        curvature = float(curvature_diagonal(outputs, trainable(model)).abs().max())
        if found.exact:
            assert curvature < 1e-9, (seed, found.reason)
            assert abs(trace_gap(outputs, trainable(model))) < 1e-9, (seed, found.reason)
        exact += found.exact
        harmless += curvature < 1e-9
    # Both kinds occur. `linearity` misses products of tensors that depend on different entries of one parameter.
    assert 0.2 * NETWORKS < harmless < 0.8 * NETWORKS
    assert exact > 0.8 * harmless
