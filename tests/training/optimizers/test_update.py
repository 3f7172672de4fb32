"""One update equals plain torch code, with and without SAM and gradient clipping."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from orchestrator.study.parts.optimizer_config import OptimizerClassConfig, SamConfig, SgdConfig
from orchestrator.training.optimizers.sam import sam_backward
from orchestrator.training.optimizers.update import Update
from orchestrator.training.user_code.extension_point import UserCodeError


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


INPUTS = torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize("sam", [None, SamConfig(rho=0.5)])
@pytest.mark.parametrize("clip", [None, 0.01, 1e6])
def test_an_update_equals_plain_torch_code(sam: SamConfig | None, clip: float | None) -> None:
    ours, theirs = linear(), linear()
    config = SgdConfig(name="sgd", lr=0.1, sam=sam, gradient_clip=clip)
    update = Update(ours, torch.optim.SGD(ours.parameters(), lr=0.1), config)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(2):
        update(lambda: ours(INPUTS).square().mean())
        optimizer.zero_grad()
        if sam:
            sam_backward(theirs, sam.rho, lambda: theirs(INPUTS).square().mean().backward())
        else:
            theirs(INPUTS).square().mean().backward()
        if clip:
            clip_grad_norm_(theirs.parameters(), clip)
        optimizer.step()
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


def test_the_gradient_is_clipped_after_the_second_pass_of_sam() -> None:
    model = linear()
    config = SgdConfig(name="sgd", lr=0.1, sam=SamConfig(rho=0.5), gradient_clip=0.01)
    before = copy.deepcopy(model)
    Update(model, torch.optim.SGD(model.parameters(), lr=1.0), config)(lambda: model(INPUTS).square().mean())
    steps = [new - old for new, old in zip(model.parameters(), before.parameters(), strict=True)]
    assert get_total_norm(steps).item() == pytest.approx(0.01, rel=1e-3)


def test_an_exception_of_the_users_optimizer_is_not_attributed_to_the_network() -> None:
    from tests.training.user_optimizers import Broken

    model = linear()
    config = OptimizerClassConfig.model_validate({"name": "tests.training.user_optimizers:Broken", "lr": 0.1})
    update = Update(model, Broken(model.parameters(), 0.1), config)
    with pytest.raises(UserCodeError, match="optimizer 'tests.*Broken' raised when taking a training step: KeyError"):
        update(lambda: model(INPUTS).mean())
