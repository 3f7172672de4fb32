"""Models with unusual uses of parameters, such as shared weights, reused layers or functional calls."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

F = nn.functional


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
    """One layer called three times."""

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
    """An embedding that shares its weight with a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer, self.last = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False), nn.Linear(6, 3)
        self.layer.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(torch.relu(self.layer(self.embedding(tokens))).sum(dim=1))


class UsedByAFunction(nn.Module):
    """A weight that is used by its layer and by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.layer(inputs[:, 0]))
        return self.last(hidden + F.linear(inputs[:, 1], self.layer.weight))


class OnlyUsedByAFunction(nn.Module):
    """Discards the result of a layer's first call and calls the layer again on a function of its weight."""

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
    """The inputs of its layers are [positions, n, ...]. The 4 positions equal the number of samples of some chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.relu(self.layer(inputs.transpose(0, 1)))).sum(dim=0)


class Flattened(nn.Module):
    """The inputs of its layers are [n * positions, ...]."""

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
    """Activations overwrite the outputs of layers, once through a view."""

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
    """A layer with the same parameter as weight and bias."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(12), nn.Linear(12, 3)
        self.norm.bias = self.norm.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.norm(inputs.flatten(1)))


class Swapped(nn.Module):
    """Reverses the order of samples before a layer and restores it afterwards."""

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
