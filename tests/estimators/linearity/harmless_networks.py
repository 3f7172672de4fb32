"""Networks that are piecewise linear in each parameter, although some of them look curved."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.estimators.cases import convolutional, normalised
from tests.estimators.linearity.judged import Judged, net


class Frozen(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 3)
        self.requires_grad_(False)


def written_through_views(m: Any, x: Tensor) -> Tensor:
    hidden = m.a(x)
    left, right = hidden[:, :2], hidden[:, 1:3]
    hidden[:, 3] = left[:, 0] * 2.0
    right += x[:, :2]
    left.relu_()
    return m.b(hidden)


def hypernetwork(m: Any, x: Tensor) -> Tensor:
    weights = m.b(torch.ones(4, dtype=x.dtype)).reshape(2, 3)
    return F.linear(F.relu(x * m.c.weight[0]), weights)


def straight_through(m: Any, x: Tensor) -> Tensor:
    hidden = m.a(x)
    return m.b(hidden + (torch.tanh(hidden) - hidden).detach())


def fourier(m: Any, x: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(F.relu(m.a(x))) * torch.complex(m.b.weight[0, :3], m.b.weight[1, :3])
    return torch.fft.irfft(spectrum, n=4)[:, :2]


HARMLESS = [
    Judged("convolution, ReLU, max pool", convolutional, shape=(2, 4, 4)),
    Judged("batch norm in eval mode", normalised, shape=(2, 4, 4)),
    Judged("GELU before every parameter", net(lambda m, x: m.b(F.relu(m.a(F.gelu(x)))))),
    Judged("tanh of a frozen layer", net(lambda m, x: m.b(F.relu(m.a(m.frozen(x).tanh()))), frozen=Frozen)),
    Judged("a weight used twice in parallel", net(lambda m, x: m.b(F.relu(m.a(x)) + m.a(x.flip(1))))),
    Judged("residual", net(lambda m, x: m.c(x + m.b(F.relu(m.a(x)))), 3, 4, 3, 2)),
    Judged("dense concatenation", net(lambda m, x: m.b(torch.cat([x, F.relu(m.a(x))], 1)), b=lambda: nn.Linear(7, 2))),
    Judged("maxout", net(lambda m, x: m.b(m.a(x).reshape(-1, 2, 2).amax(2)), 3, 4, b=lambda: nn.Linear(2, 2))),
    Judged("PReLU", net(lambda m, x: m.b(m.slope(m.a(x))), slope=nn.PReLU)),
    Judged(
        "bilinear",
        net(
            lambda m, x: m.pair(F.relu(m.a(x)), m.b(x[:, :2] @ m.c.weight)),
            3,
            3,
            2,
            2,
            b=lambda: nn.Linear(3, 3),
            c=lambda: nn.Linear(3, 2),
            pair=lambda: nn.Bilinear(3, 3, 2),
        ),
    ),
    Judged(
        "einsum",
        net(
            lambda m, x: torch.einsum("ni,ci,i->nc", F.relu(m.a(x)), m.b.weight, m.c.weight[0]),
            3,
            4,
            2,
            c=lambda: nn.Linear(4, 1),
        ),
    ),
    Judged("gate that is detached", net(lambda m, x: m.b((h := m.a(x)) * torch.sigmoid(h.detach())))),
    Judged("attention over the inputs", net(lambda m, x: m.b(F.relu(m.a(torch.softmax(x @ x.T, 1) @ x))))),
    Judged("in place, through views", net(written_through_views)),
    Judged("torch.where", net(lambda m, x: m.b(torch.where((h := m.a(x)) > 0, h, 0.1 * h)))),
    Judged("cumulative sum", net(lambda m, x: m.b(m.a(x).cumsum(1).relu()))),
    Judged("hypernetwork", net(hypernetwork, 3, 4, 6, b=lambda: nn.Linear(4, 6), c=lambda: nn.Linear(3, 1))),
    Judged("checkpoint", net(lambda m, x: m.b(checkpoint(lambda y: F.relu(m.a(y)), x, use_reentrant=False)))),
    Judged(
        "embedding",
        net(lambda m, x: m.a(m.table(x).relu().flatten(1)), 6, 2, table=lambda: nn.Embedding(3, 3)),
        shape=(),
    ),
    Judged("rounding", net(lambda m, x: m.b(F.relu(m.a(x)) + m.a(x).tanh().round()))),
    Judged("straight through", net(straight_through)),
    Judged("Fourier", net(fourier)),
    Judged("layer norm of the inputs", net(lambda m, x: m.b(m.a(m.norm(x)).relu()), norm=lambda: nn.LayerNorm(3))),
    Judged("clipped activations", net(lambda m, x: m.b(F.hardtanh(F.leaky_relu(m.a(x))).clamp(min=-0.5)))),
    Judged("the largest two", net(lambda m, x: m.b(m.a(x).topk(2).values), 3, 4, b=lambda: nn.Linear(2, 2))),
    Judged(
        "upsampling",
        net(
            lambda m, x: F.interpolate(m.up(x), scale_factor=2.0, mode="bilinear").relu().mean((2, 3)),
            up=lambda: nn.ConvTranspose2d(2, 2, 3),
        ),
        shape=(2, 3, 3),
    ),
]
