"""Float64 networks, losses and data for testing every estimator, and an operator defined by a dense matrix."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators import HessianOperator, SymmetricOperator

Pair = tuple[Tensor, Tensor]


class MatrixOperator:
    """A symmetric matrix [size, size] with the interface that algorithms use."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.products = 0.0

    @property
    def size(self) -> int:
        return len(self.matrix)

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    def matvec(self, vector: Tensor) -> Tensor:
        self.products += 1
        return self.matrix @ vector

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.matvec(vector)


def symmetric(eigenvalues: list[float] | Tensor, seed: int = 0) -> Tensor:
    """A float64 matrix with the given eigenvalues and random eigenvectors."""
    values = torch.as_tensor(eigenvalues, dtype=torch.float64)
    gaussian = torch.randn(len(values), len(values), dtype=torch.float64, generator=seeded(seed))
    rotation, _ = torch.linalg.qr(gaussian)
    return rotation @ torch.diag(values) @ rotation.T


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Case:
    """A model (float64) with its loss and data. With ``chunk_size`` the last chunk is smaller."""

    name: str
    build: Callable[[], nn.Module]
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    batches: Callable[[], Pair | list[Pair]]
    chunk_size: int = 3

    def model(self) -> nn.Module:
        """A new model with the same weights each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build().double()


class WithUnusedParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.unused = nn.Linear(2, 2)
        self.last = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(inputs)))


class TiedAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 3)
        self.decoder = nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.encoder(inputs)))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.last = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        attended, _ = self.attention(inputs, inputs, inputs, need_weights=False)
        return self.last(attended.mean(dim=1))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )


def normalised() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    statistics = model[1]
    assert isinstance(statistics, nn.BatchNorm2d) and statistics.running_mean is not None
    statistics.running_mean.normal_(generator=seeded(5))
    return model.eval()


def with_frozen_parameter() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    return model


def smooth() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))


def images(count: int = 8) -> Pair:
    inputs = torch.randn(count, 2, 4, 4, dtype=torch.float64, generator=seeded(1))
    return inputs, torch.randint(0, 3, (count,), generator=seeded(2))


def vectors(count: int = 10, outputs: int = 2, scale: float = 1.0) -> Pair:
    inputs = torch.randn(count, 3, dtype=torch.float64, generator=seeded(3))
    return inputs, scale * torch.randn(count, outputs, dtype=torch.float64, generator=seeded(4))


def labelled_vectors(count: int = 10) -> Pair:
    inputs, _ = vectors(count)
    return inputs, torch.randint(0, 2, (count,), generator=seeded(4))


def sequences() -> Pair:
    inputs = torch.randn(7, 3, 4, dtype=torch.float64, generator=seeded(3))
    return inputs, torch.randint(0, 2, (7,), generator=seeded(4))


def ragged_batches() -> list[Pair]:
    inputs, targets = images(11)
    return [(inputs[:7], targets[:7]), (inputs[7:], targets[7:])]


CASES = [
    Case("convolution, ReLU, max pool", convolutional, nn.functional.cross_entropy, images),
    Case("batches of unequal length", convolutional, nn.functional.cross_entropy, ragged_batches, chunk_size=4),
    Case("batch norm in eval mode", normalised, nn.functional.cross_entropy, images),
    Case("frozen parameter", with_frozen_parameter, nn.functional.mse_loss, vectors),
    Case("unused parameter", WithUnusedParameter, nn.functional.cross_entropy, labelled_vectors),
    Case("tied weights", TiedAutoencoder, nn.functional.mse_loss, lambda: vectors(outputs=3)),
    Case("smooth, indefinite", smooth, nn.functional.mse_loss, lambda: vectors(scale=5.0), chunk_size=4),
    Case("linear model", lambda: nn.Linear(3, 2), nn.functional.mse_loss, vectors, chunk_size=10),
    Case("loss linear in the parameters", lambda: nn.Linear(3, 2), lambda out, _: out.sum(1).mean(), vectors),
    Case("attention", SelfAttention, nn.functional.cross_entropy, sequences),
]


def operator(case: Case, model: nn.Module | None = None) -> HessianOperator:
    """The Hessian of a case, with its chunk size."""
    return HessianOperator(model or case.model(), case.loss_fn, case.batches(), chunk_size=case.chunk_size)


def mse_operator(model: nn.Module | None = None, chunk_size: int | None = None) -> HessianOperator:
    """The Hessian of a smooth network, or of the given one, on ten samples."""
    return HessianOperator(model or smooth().double(), nn.functional.mse_loss, vectors(), chunk_size)


def random_vector(op: SymmetricOperator) -> Tensor:
    return torch.randn(op.size, dtype=op.dtype, generator=seeded(7))


def columns(op: SymmetricOperator, count: int) -> Tensor:
    """Vectors [size, count], the same each time."""
    return torch.randn(op.size, count, dtype=op.dtype, generator=seeded(8))


def as_list(batches: Pair | list[Pair]) -> list[Pair]:
    return batches if isinstance(batches, list) else [batches]


def assert_relatively_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """||found - expected|| <= tolerance ||expected||."""
    assert float((found - expected).detach().norm()) <= tolerance * float(expected.detach().norm())


class Counting(nn.Module):
    """A network that counts its forward passes and computes a different function in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = smooth().double()
        self.forwards = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.forwards += 1
        outputs: Tensor = self.body(inputs)
        return 2 * outputs if self.training else outputs


def counting_operator(memory_budget: int) -> tuple[Counting, HessianOperator]:
    """A model and its Hessian on ten samples in four chunks; the count of forward passes is zero."""
    model = Counting().eval()
    op = HessianOperator(model, nn.functional.mse_loss, vectors(), chunk_size=3, memory_budget=memory_budget)
    model.forwards = 0
    return model, op
