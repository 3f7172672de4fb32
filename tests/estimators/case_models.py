"""Small models of the case list."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

F = nn.functional


class ScaledTwice(nn.Module):
    """Bare parameters in a list and a dictionary. One enters as a square."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(3, 2))])
        self.scales = nn.ParameterDict(
            {"square": nn.Parameter(torch.tensor(0.7)), "shift": nn.Parameter(torch.ones(2))}
        )

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(inputs @ self.weights[0])
        outputs: Tensor = hidden @ self.weights[1] * self.scales["square"] ** 2 + self.scales["shift"]
        return outputs


class Repeated(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.relu(self.layer(torch.relu(self.layer(inputs)))))
        return outputs


class Residual(nn.Module):
    def __init__(self, body: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.body, self.last = body, last

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(inputs + self.body(inputs))
        return outputs


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.sigmoid(self.gate(inputs)) * self.value(inputs))
        return outputs


class LastState(nn.Module):
    """The scores of the last state of a recurrent layer with two features."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent, self.last = recurrent, nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.recurrent(inputs)
        outputs: Tensor = self.last(states[:, -1])
        return outputs


class BagOfTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(4, 3), nn.Linear(3, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        outputs: Tensor = self.last(torch.tanh(self.embedding(tokens)).sum(1))
        return outputs


class TiedTokens(nn.Module):
    """Scores [n, tokens, positions] of the next token, with the embedding as output weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(4, 3), nn.Linear(3, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.tanh(self.mix(self.embedding(tokens)))
        return F.linear(hidden, self.embedding.weight).transpose(1, 2)


def mlp(activation: nn.Module, bias: bool = True, outputs: int = 2) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Linear(3, 4, bias), activation, nn.Linear(4, 3, bias), activation, nn.Linear(3, outputs, bias)
    )


def with_norm(norm: Callable[[int], nn.Module], activation: nn.Module) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 4), norm(4), activation, nn.Linear(4, 2))
        if isinstance(statistics := model[1], nn.BatchNorm1d):
            statistics.running_mean.copy_(torch.randn(4))
            statistics.running_var.copy_(torch.rand(4) + 0.5)
        nn.init.normal_(model[1].weight)
        return model.eval()

    return build


def convolutions(*layers: Callable[[], nn.Module], features: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(layer() for layer in layers), nn.Flatten(), nn.Linear(features, 3)).eval()


def frozen_middle() -> nn.Module:
    model = mlp(nn.Tanh())()
    assert isinstance(model, nn.Sequential)
    model[2].requires_grad_(False)
    model[0].bias.requires_grad_(False)
    return model


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(2, 1, 2, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Linear(4, 2), layer, nn.Flatten(), nn.Linear(6, 2))
