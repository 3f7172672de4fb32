"""Optimizers that a sweep file names by class: arguments and errors."""

from typing import Any

import pytest
import torch
from torch import nn, optim

from orchestrator.study.parts.optimizer_config import OptimizerClassConfig
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.user_code.extension_point import UserCodeError
from orchestrator.training.user_code.own_code import own_code, own_names
from tests.training.trials import small_trial

OWN = "tests.training.user_optimizers"


def build(name: str, shapes: tuple[tuple[int, ...], ...] = ((3, 2), (3,)), **arguments: Any) -> optim.Optimizer:
    config = OptimizerClassConfig.model_validate({"name": name, **arguments})
    return build_optimizer(config, [nn.Parameter(torch.ones(shape)) for shape in shapes])


def test_keys_of_the_sweep_file_are_arguments_of_the_class() -> None:
    group = build("torch.optim:NAdam", lr=0.1, betas=[0.8, 0.9], decoupled_weight_decay=True).param_groups[0]
    assert (group["lr"], group["betas"], group["decoupled_weight_decay"]) == (0.1, (0.8, 0.9), True)
    assert build("torch.optim:Adafactor", eps=[None, 0.01]).param_groups[0]["eps"] == (None, 0.01)
    assert build(f"{OWN}:SignDescent", lr=1, powers=[1, 2]).param_groups[0]["powers"] == (1, 2)


def test_sam_and_clipping_are_not_arguments_of_the_class() -> None:
    optimizer = build("torch.optim:NAdam", sam={"rho": 0.1}, gradient_clip=1.0)
    assert optimizer.param_groups[0]["lr"] == 0.002  # torch's default


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "torch.optim:NAdam",
            {"lr": 0.1, "beta1": 0.9},
            r"^optimizer 'torch\.optim:NAdam' cannot be called with lr=0\.1, beta1=0\.9: got an unexpected keyword "
            r"argument 'beta1'; its signature is NAdam\(lr: .* = 0\.002, betas: .*\)$",
        ),
        (
            "torch.optim:NAdam",
            {"lr": -1},
            r"^optimizer 'torch\.optim:NAdam' raised when called with lr=-1: ValueError: Invalid learning rate: -1; "
            r"change the arguments, or name another optimizer$",
        ),
        ("torch.optim:NAdam", {"lr": "fast"}, "raised when called with lr='fast': TypeError: .*; change the arguments"),
        ("torch.optim:NAdm", {}, "has no class 'NAdm'; did you mean 'NAdam'"),
        ("torch.optim.lr_scheduler:StepLR", {}, "is another class, expected a class derived from torch.optim.Optimize"),
        (f"{OWN}:make_nothing", {}, "is a function, expected a class derived from torch.optim.Optimizer"),
        (f"{OWN}:SignDescent", {}, r"missing a required argument: 'lr'; its signature is SignDescent\(lr: float, pow"),
        ("torch.optim:LBFGS", {}, "needs a closure that computes the loss several times per step, .*: name an optim"),
        ("torch.optim:SparseAdam", {}, "needs sparse gradients, and gradients here are dense: name adam or another"),
        (
            "torch.optim:Muon",
            {},
            r"trains only parameters with 2 dimensions, and the network has one of shape \(3,\): name another optimi",
        ),
        ("no_such_module:Opt", {}, "optimizer 'no_such_module:Opt': No module named 'no_such_module'; Python looked"),
    ],
)
def test_errors_state_what_was_expected_and_the_fix(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **arguments)


def test_muon_trains_networks_without_biases() -> None:
    assert isinstance(build("torch.optim:Muon", shapes=((3, 2), (2, 4))), optim.Muon)


def test_an_exception_of_the_users_class_keeps_its_traceback() -> None:
    with pytest.raises(UserCodeError, match="raised when called with lr=True: ") as caught:
        build(f"{OWN}:SignDescent", lr=True, shapes=())
    assert "an empty parameter list" in str(caught.value)


def test_the_users_class_is_recorded_and_that_of_torch_is_not() -> None:
    trial = small_trial(optimizer={"name": f"{OWN}:SignDescent", "lr": 0.1})
    assert own_names(trial) == [f"{OWN}:SignDescent"]
    assert OWN in own_code(trial)
    assert own_code(small_trial(optimizer={"name": "torch.optim:NAdam"})) == {}
