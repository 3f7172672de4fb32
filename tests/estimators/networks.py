"""Networks whose traces are held against dense matrices: every kind of layer with a rule, and ways around the rules."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.estimators.cases import Pair, SelfAttention, seeded

F = nn.functional


@dataclass(frozen=True)
class Network:
    """Takes images [n, 2, 6, 6], sequences [n, 4, 3] or tokens [n, 5]; gives three outputs."""

    name: str
    build: Callable[[], nn.Module]
    data: str = "images"
    #: Parameters that no rule covers.
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


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.stem(inputs))
        hidden = torch.relu(hidden + self.norm(self.body(hidden)))
        return self.last(hidden.mean(dim=(2, 3)))


class Reused(nn.Module):
    """One layer, three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(12, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        for _ in range(3):
            inputs = torch.relu(self.layer(inputs))
        return self.last(inputs.flatten(1))


class ReusedConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.Linear(2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last((self.layer(inputs) + self.layer(inputs.flip(2))).relu().mean(dim=(2, 3)))


class TiedEmbedding(nn.Module):
    """An embedding whose weight is a linear layer's as well."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer, self.last = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False), nn.Linear(6, 3)
        self.layer.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(torch.relu(self.layer(self.embedding(tokens))).sum(dim=1))


class UsedByAFunction(nn.Module):
    """A layer's call, and the same weight again in a function."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.layer(inputs[:, 0]))
        return self.last(hidden + F.linear(inputs[:, 1], self.layer.weight))


class OnlyUsedByAFunction(nn.Module):
    """The layer's own call is dead: what reaches the outputs is a function of its weight that then enters the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        self.layer(inputs[:, 1])
        return self.last(self.layer(F.linear(inputs[:, 0], self.layer.weight)))


class BareParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(3)), nn.Linear(12, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scale * self.layer(inputs.flatten(1))


class SequenceFirst(nn.Module):
    """Its layers see [positions, n, ...]: 4 positions are as many as the samples of some chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.layer(inputs.transpose(0, 1)))).sum(dim=0)


class Flattened(nn.Module):
    """Its layers see [n * positions, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 4), nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.layer(inputs.flatten(0, 1))).reshape(len(inputs), -1))


class TwoViews(nn.Module):
    """Two crops of each image in one batch of 2n."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Conv2d(2, 3, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        both = self.layer(torch.cat([inputs[..., :5], inputs[..., 1:]])).relu().mean(dim=(2, 3))
        return self.last(both[: len(inputs)] * 2 + both[len(inputs) :])


class InPlace(nn.Module):
    """Activations overwrite what the layers returned; after the sequence layer, through a view."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence, self.layer, self.last = nn.Linear(3, 4), nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.sequence(inputs), inplace=True).flatten(1)
        return self.last(F.leaky_relu(self.layer(hidden), inplace=True))


class Sub(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 3.0 * super().forward(input)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = checkpoint(lambda x: torch.relu(self.first(x)), inputs.flatten(1), use_reentrant=False)
        return self.last(hidden)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.last = nn.GRU(3, 2, batch_first=True), nn.Linear(2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.recurrent(inputs)[0][:, -1])


class TwoTimesInOneCall(nn.Module):
    """A bias that is a weight as well."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(12), nn.Linear(12, 3)
        self.norm.bias = self.norm.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.norm(inputs.flatten(1)))


class Swapped(nn.Module):
    """Gives each layer the samples in reverse order, and reverses what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(12, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.layer(inputs.flatten(1).flip(0)).flip(0)))


def patched() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    model[1].forward = lambda inputs: 2.0 * F.linear(inputs, model[1].weight)  # type: ignore[method-assign]
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
    model[1].register_forward_hook(lambda _, __, output: 2.0 * output)
    model[3].register_forward_pre_hook(lambda _, args: (3.0 * args[0],))
    return model


def hooked_backwards() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
    model[1].register_full_backward_hook(lambda _, grads, __: tuple(None if g is None else 2.0 * g for g in grads))
    return model


def normalised_weight() -> nn.Module:
    return nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(12, 4)), nn.ReLU(), nn.Linear(4, 3))


def partly_frozen() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    model[0].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    return model


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
    """Its Hessian in the outputs has both signs."""
    return (torch.sin(2.0 * outputs).prod(dim=1) + (outputs * targets).sum(dim=1)).mean()


def dense_gauss_newton(model: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], batches: Pair) -> Tensor:
    """J_n'(d2l_n/dz_n2)J_n [n, size, size] of every sample, one output at a time."""
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
