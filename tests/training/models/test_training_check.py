"""The check that the user's own networks can be trained, and that reruns are the same."""

from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.loop import fitting_model
from orchestrator.training.loss import build_loss
from orchestrator.training.models.training_check import check_training
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.training.trials import small_trial


def check(network: str, **arguments: Any) -> tuple[nn.Module, DataSplits]:
    model = network if network.islower() else f"tests.training.user_nets:{network}"
    config = small_trial(model={"name": model, **arguments})
    data = load_data(config.data, torch.device("cpu"))
    network_of_trial = fitting_model(config, data)
    check_training(config, network_of_trial, build_loss(config.loss, data), data)
    return network_of_trial, data


@pytest.mark.parametrize(
    ("network", "arguments"),
    [("mlp", {}), ("Plain", {}), ("Lazy", {}), ("Fixed", {}), ("DrawsInTraining", {"generator": "torch"})],
)
def test_networks_that_draw_with_torch_pass_and_stay_as_they_are(network: str, arguments: dict[str, Any]) -> None:
    state = torch.get_rng_state()
    model, _ = check(network, **arguments)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("DrawsWeights", {}, "has other weights when it is built again: draw initial weights with torch"),
        ("DrawsWeights", {"clock": True}, "has other weights when it is built again"),
        ("DrawsInTraining", {"generator": "entropy"}, "draws random numbers in a training pass that are not seeded"),
        ("DrawsABit", {}, "draws random numbers in a training pass that are not seeded: draw them with torch"),
        ("PairInTraining", {}, r"gives tuple in training mode, expected \(4, 10\): return the same as in eval mode"),
        ("Detached", {}, r"has outputs without a gradient: compute them from the parameters with torch operations"),
        ("Detached", {"leaf": True}, "has outputs without a gradient"),
    ],
)
def test_networks_that_cannot_be_trained_or_repeated_are_refused(
    network: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^model 'tests.training.user_nets:{network}' {message}"):
        check(network, **arguments)


def test_a_network_that_raises_in_training_mode_only_is_found() -> None:
    with pytest.raises(UserCodeError, match="raised when called in training mode: ValueError: a bug in the pass"):
        check("BrokenPass", in_training=True)
