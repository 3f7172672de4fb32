"""Networks for comparing traces with dense matrices.

They cover every layer type with a trace rule, and parameters used in ways that no rule covers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.estimators.cases import Pair, SelfAttention, seeded
from tests.estimators.models import (
    BareParameter,
    Checkpointed,
    Flattened,
    InPlace,
    OnlyUsedByAFunction,
    Recurrent,
    Residual,
    Reused,
    ReusedConvolution,
    SequenceFirst,
    Sub,
    Swapped,
    TiedEmbedding,
    TwoTimesInOneCall,
    TwoViews,
    UsedByAFunction,
    hooked,
    normalised_weight,
    partly_frozen,
    patched,
)


@dataclass(frozen=True)
class Network:
    """A network on images [n, 2, 6, 6], sequences [n, 4, 3] or tokens [n, 5], with three outputs."""

    name: str
    build: Callable[[], nn.Module]
    data: str = "images"
    #: Parameters that need per-sample gradients.
    without_rule: tuple[str, ...] = ()

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = self.build().to(dtype).eval()
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2.0)
                if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm):
                    nn.init.normal_(module.weight)
                    nn.init.normal_(module.bias)
            return model

    def inputs(self, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
        shapes = {"images": (2, 6, 6), "sequences": (4, 3), "volumes": (2, 3, 3, 3)}
        if self.data == "tokens":
            return torch.randint(0, 6, (count, 5), generator=seeded(1))
        return torch.randn(count, *shapes[self.data], dtype=torch.float64, generator=seeded(1)).to(dtype)


def head(features: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(features, 3)]


NETWORKS = [
    Network(
        "conv, relu, pools",
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 3, 2, bias=False),
            nn.LeakyReLU(),
            nn.AvgPool2d(2),
            *head(3),
        ),
    ),
    Network(
        "many channels, strided, dilated, grouped",
        lambda: nn.Sequential(
            nn.Conv2d(2, 16, 3, stride=(1, 2), padding=(2, 1)),
            nn.ReLU(),
            nn.Conv2d(16, 4, (3, 2), dilation=2, padding="same"),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, stride=2, groups=4),
            *head(4 * 3),
        ),
    ),
    Network(
        "padding modes",
        lambda: nn.Sequential(
            nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(2, 2, (2, 4), padding="same", padding_mode="circular"),
            nn.ReLU(),
            nn.Conv2d(2, 2, 3, padding=1, padding_mode="replicate", stride=3),
            *head(8),
        ),
    ),
    Network(
        "1-d", lambda: nn.Sequential(nn.Conv1d(4, 2, 2, dilation=2, padding=1), nn.ReLU(), *head(6)), data="sequences"
    ),
    Network("3-d", lambda: nn.Sequential(nn.Conv3d(2, 2, 2, stride=(1, 2, 1)), nn.ReLU(), *head(8)), data="volumes"),
    Network("residual, batch norm", Residual),
    Network(
        "group norm, layer norm",
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.LayerNorm([4, 4]), nn.Flatten(), nn.Linear(64, 3)
        ),
    ),
    Network(
        "sequence",
        lambda: nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 2), *head(8)),
        data="sequences",
    ),
    Network(
        "batch norm 1-d",
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)),
        data="sequences",
    ),
    Network(
        "embedding",
        lambda: nn.Sequential(nn.Embedding(6, 3, padding_idx=2), nn.Flatten(), nn.Linear(15, 3)),
        data="tokens",
    ),
    Network("partly frozen", partly_frozen),
    Network("reused layer", Reused, data="sequences"),
    Network("reused convolution", ReusedConvolution),
    Network("tied embedding", TiedEmbedding, data="tokens"),
    Network("used by a function", UsedByAFunction, data="sequences", without_rule=("layer.weight",)),
    Network("dead call", OnlyUsedByAFunction, data="sequences", without_rule=("layer.weight",)),
    Network("bare parameter", BareParameter, data="sequences", without_rule=("scale",)),
    Network(
        "sequence first",
        SequenceFirst,
        data="sequences",
        without_rule=("layer.weight", "layer.bias", "last.weight", "last.bias"),
    ),
    Network("flattened", Flattened, data="sequences", without_rule=("layer.weight", "layer.bias")),
    Network("two views", TwoViews, without_rule=("layer.weight", "layer.bias")),
    Network("in place", InPlace, data="sequences", without_rule=("sequence.weight", "sequence.bias")),
    Network("subclass", lambda: nn.Sequential(nn.Flatten(), Sub(12, 3)), "sequences", ("1.weight", "1.bias")),
    Network("patched forward", patched, "sequences", ("1.weight",)),
    Network("hooked", hooked, data="sequences"),
    Network(
        "parametrised weight",
        normalised_weight,
        "sequences",
        ("1.bias", "1.parametrizations.weight.original0", "1.parametrizations.weight.original1"),
    ),
    Network("checkpointed", Checkpointed, data="sequences"),
    Network(
        "recurrent",
        Recurrent,
        "sequences",
        tuple(f"recurrent.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
    ),
    Network("weight and bias are one", TwoTimesInOneCall, "sequences", ("norm.weight",)),
    Network("swapped samples", Swapped, "sequences", ("layer.weight", "layer.bias")),
    Network(
        "attention",
        lambda: nn.Sequential(nn.Linear(3, 4), SelfAttention(), nn.Linear(2, 3)),
        "sequences",
        tuple(f"1.attention.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")),
    ),
]


def labels(count: int) -> Tensor:
    return torch.randint(0, 3, (count,), generator=seeded(2))


def values(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, dtype=torch.float64, generator=seeded(2)).to(dtype)


def not_convex(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss whose Hessian with respect to the outputs is indefinite."""
    return (torch.sin(2.0 * outputs).prod(dim=1) + (outputs * targets).sum(dim=1)).mean()


def dense_gauss_newton(model: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], batches: Pair) -> Tensor:
    """J_n'(d2l_n/dz_n2)J_n [n, size, size] of every sample, by one backward pass per output."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = []
    for sample, target in zip(*(part.split(1) for part in batches), strict=True):
        outputs = model(sample)
        rows = [
            torch.cat(
                [
                    part.reshape(-1)
                    for part in torch.autograd.grad(z, parameters, retain_graph=True, materialize_grads=True)
                ]
            )
            for z in outputs.reshape(-1)
        ]
        flat = outputs.detach().reshape(-1)
        curvature = torch.autograd.functional.hessian(
            lambda z, target=target, shape=outputs.shape: loss_fn(z.reshape(shape), target), flat
        )
        jacobian = torch.stack(rows)
        matrices.append(jacobian.T @ curvature @ jacobian)
    return torch.stack(matrices)
