"""Combinations of model, loss and data, in the style of curvlinops, on which every public function is compared."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.estimators.case_models import (
    BagOfTokens,
    Gated,
    LastState,
    Repeated,
    Residual,
    ScaledTwice,
    TiedTokens,
    convolutions,
    frozen_middle,
    mlp,
    transformer,
    with_norm,
)
from tests.estimators.cases import Case, Pair, SelfAttention, TiedAutoencoder, WithUnusedParameter, seeded

F = nn.functional


# Losses. Each is a mean over samples.
def soft_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets.softmax(1))


def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, label_smoothing=0.1)


def half_squared_sum(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (outputs - targets).square().sum() / len(targets)


def binary(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets.sigmoid())


def not_convex(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.sin(2 * outputs - targets).prod(1).mean()


def divergence(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.kl_div(outputs.log_softmax(1), targets.softmax(1), reduction="batchmean")


# Data: random numbers of a fixed seed.
def real(count: int = 5, *shape: int, outputs: int = 2) -> Pair:
    inputs = torch.randn(count, *(shape or (3,)), dtype=torch.float64, generator=seeded(1))
    return inputs, torch.randn(count, outputs, dtype=torch.float64, generator=seeded(2))


def classes(count: int = 5, *shape: int, number: int = 2) -> Pair:
    return real(count, *shape)[0], torch.randint(0, number, (count,), generator=seeded(2))


def images() -> Pair:
    return classes(5, 2, 4, 4, number=3)


def image_values() -> Pair:
    return real(5, 2, 4, 4, outputs=3)


def sequences() -> Pair:
    return classes(5, 3, 4)


def sequence_values() -> Pair:
    return real(5, 3, 4)


def series() -> Pair:
    return classes(5, 3, 4, number=3)


def tokens() -> Pair:
    return torch.randint(0, 4, (5, 3), generator=seeded(1)), torch.randint(0, 2, (5,), generator=seeded(2))


def next_tokens() -> Pair:
    return torch.randint(0, 4, (5, 3), generator=seeded(1)), torch.randint(0, 4, (5, 3), generator=seeded(2))


def ragged() -> list[Pair]:
    inputs, targets = real(9)
    return [(inputs[:4], targets[:4]), (inputs[4:5], targets[4:5]), (inputs[5:], targets[5:])]


def loader() -> list[Pair]:
    return list(DataLoader(TensorDataset(*classes(9)), batch_size=4))


def single() -> Pair:
    return real(1)


CASE_LIST = [
    Case("linear, mse", lambda: nn.Linear(3, 2), F.mse_loss, real),
    Case("linear, cross entropy", lambda: nn.Linear(3, 2), F.cross_entropy, classes),
    Case("linear, binary cross entropy", lambda: nn.Linear(3, 2), binary, real),
    Case("relu, mse", mlp(nn.ReLU()), F.mse_loss, real),
    Case("relu, mse module", mlp(nn.ReLU()), nn.MSELoss(), real, chunk_size=100),
    Case("relu, cross entropy", mlp(nn.ReLU()), F.cross_entropy, classes),
    Case("relu, cross entropy module", mlp(nn.ReLU()), nn.CrossEntropyLoss(), classes, chunk_size=2),
    Case("relu, label smoothing", mlp(nn.ReLU()), nn.CrossEntropyLoss(label_smoothing=0.2), classes),
    Case("relu, binary cross entropy", mlp(nn.ReLU()), binary, real),
    Case("relu, half of a squared sum", mlp(nn.ReLU()), half_squared_sum, real),
    Case("relu without bias, one output", mlp(nn.ReLU(), bias=False, outputs=1), F.mse_loss, lambda: real(outputs=1)),
    Case("leaky relu, Huber", mlp(nn.LeakyReLU(0.2)), F.huber_loss, real),
    Case("tanh, mse", mlp(nn.Tanh()), F.mse_loss, real),
    Case("tanh, soft targets", mlp(nn.Tanh()), soft_cross_entropy, real),
    Case("tanh, divergence", mlp(nn.Tanh()), divergence, real),
    Case("tanh, Poisson", mlp(nn.Tanh()), nn.PoissonNLLLoss(), real),
    Case("tanh, soft margin", mlp(nn.Tanh()), lambda out, y: F.soft_margin_loss(out, y.sign()), real),
    Case("tanh, not convex", mlp(nn.Tanh()), not_convex, real),
    Case("sigmoid, smoothed", mlp(nn.Sigmoid()), smoothed, classes),
    Case("gelu, cross entropy", mlp(nn.GELU()), F.cross_entropy, classes),
    Case("silu, mse", mlp(nn.SiLU()), F.mse_loss, real),
    Case("softplus, binary cross entropy", mlp(nn.Softplus()), binary, real),
    Case("elu, half of a squared sum", mlp(nn.ELU()), half_squared_sum, real),
    Case("one sample", mlp(nn.Tanh()), F.mse_loss, single),
    Case("ragged batches", mlp(nn.ReLU()), F.mse_loss, ragged, chunk_size=2),
    Case("data loader", mlp(nn.Tanh()), F.cross_entropy, loader),
    Case("layer norm", with_norm(nn.LayerNorm, nn.Tanh()), F.mse_loss, real),
    Case("batch norm, eval", with_norm(nn.BatchNorm1d, nn.ReLU()), F.cross_entropy, classes),
    Case("residual", lambda: Residual(mlp(nn.GELU(), outputs=3)(), nn.Linear(3, 2)), F.mse_loss, real),
    Case("gated", Gated, F.cross_entropy, classes),
    Case("layer called twice", Repeated, F.mse_loss, real),
    Case("tied weights", TiedAutoencoder, half_squared_sum, lambda: real(outputs=3)),
    Case("bare parameters", ScaledTwice, F.mse_loss, real),
    Case("frozen middle", frozen_middle, F.cross_entropy, classes),
    Case("unused parameters", WithUnusedParameter, F.mse_loss, real),
    Case(
        "relu, max pool",
        convolutions(lambda: nn.Conv2d(2, 2, 2, padding=1), nn.ReLU, lambda: nn.MaxPool2d(2), features=8),
        F.cross_entropy,
        images,
    ),
    Case(
        "stride, groups, average pool",
        convolutions(
            lambda: nn.Conv2d(2, 4, 2, stride=2, groups=2), nn.Tanh, lambda: nn.AdaptiveAvgPool2d(1), features=4
        ),
        F.mse_loss,
        image_values,
    ),
    Case(
        "convolution, batch norm",
        convolutions(lambda: nn.Conv2d(2, 2, 3), lambda: nn.BatchNorm2d(2), nn.GELU, features=8),
        F.cross_entropy,
        images,
    ),
    Case(
        "convolution, group norm",
        convolutions(lambda: nn.Conv2d(2, 2, 3), lambda: nn.GroupNorm(2, 2), nn.ReLU, features=8),
        F.mse_loss,
        image_values,
    ),
    Case(
        "convolution, residual",
        convolutions(
            lambda: Residual(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1)), nn.AvgPool2d(2)),
            features=8,
        ),
        F.cross_entropy,
        images,
        chunk_size=4,
    ),
    Case(
        "convolution over time",
        convolutions(lambda: nn.Conv1d(3, 2, 2), nn.Tanh, features=6),
        smoothed,
        series,
    ),
    Case("lstm", lambda: LastState(nn.LSTM(4, 2, batch_first=True)), F.cross_entropy, sequences),
    Case("gru", lambda: LastState(nn.GRU(4, 2, batch_first=True)), F.mse_loss, sequence_values),
    Case(
        "relu recurrence",
        lambda: LastState(nn.RNN(4, 2, 1, "relu", batch_first=True)),
        binary,
        sequence_values,
    ),
    Case("attention", SelfAttention, F.cross_entropy, sequences),
    Case("transformer layer", transformer, F.cross_entropy, sequences),
    Case("embedding", BagOfTokens, F.cross_entropy, tokens),
    Case("embedding tied with the outputs", TiedTokens, F.cross_entropy, next_tokens),
]
