"""lambda_max in full-batch training at the edge of stability, where the largest eigenvalues lie close together."""

import torch
from torch import Tensor, nn

from estimators import HessianOperator, lanczos
from orchestrator.training.data.images.digits import load_digits
from tests.estimators.cases import seeded

TOLERANCE = 0.01
LR = 0.2


def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (outputs - targets).square().sum(1).mean()


def test_converged_values_after_a_coarse_start_are_within_the_tolerance_but_for_one_in_ten() -> None:
    """The gradient, from which a coarse stage starts, oscillates along eigenvectors just below the largest."""
    images = load_digits()
    inputs = images.normalise(images.train.inputs[:600]).flatten(1)
    targets = nn.functional.one_hot(images.train.targets[:600], 10).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 10))
    optimizer = torch.optim.SGD(model.parameters(), LR)
    errors, ratios = [], []
    for step in range(801):
        if step >= 350 and step % 50 == 0:
            op = HessianOperator(model, loss_fn, (inputs, targets), validate=False)
            exact = lanczos(op, 60, tolerance=0.0, generator=seeded(1), coarse_fraction=None).lambda_max
            found = lanczos(op, 30, TOLERANCE, generator=seeded(2), coarse_fraction=0.1)
            assert found.converged
            errors.append(1.0 - found.lambda_max / exact)
            ratios.append(exact * LR / 2)
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        optimizer.step()
    assert max(ratios) > 0.95, "the run is not at the edge"
    assert sum(error > TOLERANCE for error in errors) <= len(errors) // 10, errors
