"""Losses of scores [n, positions, vocabulary] for tokens [n, positions]: cross-entropies, and others like them."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from estimators.trace.roots.root import LossRoot
from tests.estimators.cases import seeded

F = nn.functional
Loss = Callable[[Tensor, Tensor], Tensor]

SAMPLES, POSITIONS, VOCABULARY = 3, 2, 4
WEIGHTS = torch.tensor([0.5, 1.0, 3.0, 2.0], dtype=torch.float64)


def scores() -> Tensor:
    return torch.randn(SAMPLES, POSITIONS, VOCABULARY, dtype=torch.float64, generator=seeded(1))


def tokens() -> Tensor:
    """Each sample has one token 0."""
    return torch.tensor([[0, 3], [2, 0], [0, 1]])


def flattened(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def transposed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.transpose(1, 2), targets)


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    return -outputs.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).mean()


def from_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    wanted = F.one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
    return F.cross_entropy(outputs.flatten(0, 1), wanted.flatten(0, 1))


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    """The sum over positions, averaged over samples."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum") / len(targets)


def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), label_smoothing=0.2)


def padded(outputs: Tensor, targets: Tensor) -> Tensor:
    """Token 0 is padding."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0)


def masked(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    mask = (targets.flatten() != 0).to(outputs.dtype)
    return (losses * mask).sum() / mask.sum()


#: Maps names to the wrapped loss, a bare loss of transposed scores, and the factor between them.
CROSS_ENTROPIES: dict[str, tuple[Loss, Loss, float]] = {
    "flattened": (flattened, F.cross_entropy, 1.0),
    "transposed": (transposed, F.cross_entropy, 1.0),
    "likelihood": (likelihood, F.cross_entropy, 1.0),
    "probabilities": (from_probabilities, F.cross_entropy, 1.0),
    "summed over positions": (summed, F.cross_entropy, float(POSITIONS)),
    "smoothed": (smoothed, F.cross_entropy, 1.0),
    "in bits": (lambda z, y: 1.4427 * flattened(z, y), F.cross_entropy, 1.4427),
    "padded": (padded, nn.CrossEntropyLoss(ignore_index=0), 1.0),
    "masked": (masked, nn.CrossEntropyLoss(ignore_index=0), 1.0),
}


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return ((1.0 - (-losses).exp()) ** 2 * losses).mean()


def confident(outputs: Tensor, targets: Tensor) -> Tensor:
    """With a penalty on confident predictions, the negative entropy."""
    log = outputs.log_softmax(-1)
    return flattened(outputs, targets) + 0.1 * (log.exp() * log).sum(-1).mean()


def with_z_loss(outputs: Tensor, targets: Tensor, factor: float = 1e-4) -> Tensor:
    return flattened(outputs, targets) + factor * outputs.logsumexp(-1).square().mean()


def of_sequences(outputs: Tensor, targets: Tensor) -> Tensor:
    """A nonlinear function of each sequence's loss, which couples its positions."""
    return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=1).exp().mean()


LOOK_ALIKES: dict[str, Loss] = {
    "focal": focal,
    "confidence penalty": confident,
    "z-loss": with_z_loss,
    "a small z-loss": lambda z, y: with_z_loss(z, y, 1e-7),
    "temperature": lambda z, y: flattened(1.5 * z, y),
    "weight decay of scores": lambda z, y: flattened(z, y) + 1e-6 * z.square().mean(),
    "perplexity": of_sequences,
    "one position of two": lambda z, y: F.cross_entropy(z[:, 0], y[:, 0]) + 0.01 * (z[:, 0] * z[:, 1]).mean(),
    "clamped": lambda z, y: flattened(z.clamp(-0.5, 0.5), y),
}

OF_SINGLE_OUTPUTS: dict[str, Loss] = {
    "half squared error": lambda z, y: 0.5 * (z - y).square().sum() / len(y),
    "squared error": lambda z, y: F.mse_loss(z.flatten(), y.flatten()),
    "binary": lambda z, y: F.binary_cross_entropy_with_logits(z, y),
    "Huber": lambda z, y: F.huber_loss(z, y),
    "Poisson": lambda z, y: F.poisson_nll_loss(z, y),
    "not convex": lambda z, y: (z * y).sin().mean(),
    "linear": lambda z, y: (z * y).mean(),
    "constant": lambda z, y: y.mean(),
}


def output_hessians(loss_fn: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """d2l_n/dz_n2 [n, outputs, outputs] by torch's autograd, one sample at a time."""
    size = outputs[0].numel()
    return torch.stack(
        [
            torch.autograd.functional.hessian(lambda z, y=y: loss_fn(z[None], y[None]) + 0.0 * z.sum() ** 2, z)
            for z, y in zip(outputs, targets, strict=True)
        ]
    ).reshape(-1, size, size)


def squares(root: LossRoot, samples: int) -> Tensor:
    """The sum over columns of sign ss' [n, outputs, outputs]."""
    total = torch.zeros(samples, root.signs, root.signs, dtype=torch.float64)
    for index in range(root.count):
        column, sign = root.column(index)
        flat = column.flatten(1).double()
        total += torch.as_tensor(sign, dtype=torch.float64).reshape(-1, 1, 1) * flat.unsqueeze(2) * flat.unsqueeze(1)
    return total


def mean_square(root: LossRoot, samples: int) -> Tensor:
    """The mean over all signs of sign Se(Se)' [n, outputs, outputs], summed over the vectors of a combination."""
    total = torch.zeros(samples, root.signs, root.signs, dtype=torch.float64)
    all_signs = list(itertools.product((-1.0, 1.0), repeat=root.signs))
    for signs in all_signs:
        for vector, sign in root.combinations(torch.tensor(signs, dtype=torch.float64).expand(samples, -1)):
            flat = vector.flatten(1).double()
            total += sign * flat.unsqueeze(2) * flat.unsqueeze(1) / len(all_signs)
    return total
