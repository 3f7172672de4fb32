"""Networks that cannot be measured are refused before training, by a measurement on a few samples."""

from typing import Any

import pytest
import torch

from orchestrator.study.config import TrialConfig
from orchestrator.training.data.datasets import load_data
from orchestrator.training.loop import fitting_model
from orchestrator.training.loss import build_loss
from orchestrator.training.measurement_check import check_measurement, shortened
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.training.trials import CPU, small_trial

ALL = ["lanczos", "exact_trace", "algorithm1"]
DATA = "tests.training.user_data"
NETS = "tests.training.user_nets"


def trial(estimators: list[str] = ALL, **fields: Any) -> TrialConfig:
    return small_trial(**{"measurement": {"estimators": estimators}, **fields})


def check(config: TrialConfig) -> None:
    data = load_data(config.data, CPU)
    check_measurement(config, fitting_model(config, data), build_loss(config.loss, data), data)


@pytest.mark.parametrize("estimator", ALL)
def test_a_network_without_second_derivatives_is_refused(estimator: str) -> None:
    with pytest.raises(ValueError, match="hardsigmoid_backward is not implemented") as refused:
        check(trial([estimator], model={"name": f"{NETS}:HardSigmoid"}))
    assert str(refused.value).startswith(f"model {NETS}:HardSigmoid cannot be measured: the loss cannot be")
    assert "replace the operation named here" in str(refused.value)


def test_an_architecture_of_torchvision_is_refused_with_the_fix() -> None:
    images = {"name": f"{DATA}:colour_images"}
    with pytest.raises(ValueError, match="hardsigmoid_backward") as refused:
        check(trial(["lanczos"], data=images, model={"name": "torchvision", "architecture": "mobilenet_v3_small"}))
    assert str(refused.value).startswith("model torchvision (mobilenet_v3_small) cannot be measured: ")
    assert str(refused.value).endswith(" Choose another architecture, such as resnet18.")


def test_a_network_whose_samples_influence_each_other_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be measured: the outputs of 4 samples change by"):
        check(trial(model={"name": f"{NETS}:Mixing"}))


def test_other_errors_are_those_of_the_users_code() -> None:
    with pytest.raises(UserCodeError, match="NoSecondPass' raised when measured on 4 samples: RuntimeError: out of"):
        check(trial(model={"name": f"{NETS}:NoSecondPass"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": {"name": "mlp", "hidden": [8], "batch_norm": True, "dropout": 0.5}},
        {"model": {"name": "cnn"}, "loss": "mse"},
        {"data": {"name": f"{DATA}:values"}, "loss": {"name": f"{DATA}:huber"}},
        {"data": {"name": f"{DATA}:labelled"}, "loss": "binary_cross_entropy"},
        {"data": {"name": f"{DATA}:tokens"}, "model": {"name": "lstm", "width": 8}},
        {"measurement": {"estimators": [*ALL], "lanczos_coarse_fraction": 0.01, "every": 7}},
        {"data": {"name": "digits", "train_subset": 1, "validation_fraction": 0.0}, "batch_size": 1},
    ],
)
def test_networks_that_can_be_measured_pass_unchanged(fields: dict[str, Any]) -> None:
    config = trial(**fields)
    data = load_data(config.data, CPU)
    model = fitting_model(config, data)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    check_measurement(config, model, build_loss(config.loss, data), data)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert torch.equal(random, torch.get_rng_state())


def test_equal_estimators_are_tried_once() -> None:
    long = trial(ALL[:1], measurement={"estimators": ALL[:1], "fraction": 0.5, "lanczos_products": 99, "every": 3})
    assert shortened(long.measurement) == shortened(trial(ALL[:1]).measurement)
    assert shortened(long.measurement) != shortened(trial(ALL[:2]).measurement)
