"""Every way to change the training is undone and reported; the optimizer is copied only if it is used."""

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from orchestrator.training.measurement import protection
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.protection import training_unchanged
from tests.training.measurement.measured import Trained, trained

Change = Callable[[Training], Any]
OPTIMIZERS = (
    {"name": "adam", "lr": 0.01},
    {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    {"name": "sgd", "lr": 0.1},
    {"name": "adagrad", "lr": 0.01},
    {"name": "rmsprop", "lr": 0.01},
)


def first_state(training: Training) -> Tensor:
    """A tensor of the size of a weight in the optimizer's state."""
    (values, *_) = training.optimizer.state.values()
    return next(value for value in values.values() if isinstance(value, Tensor) and value.ndim)


def write_by_address(tensor: Tensor) -> None:
    ctypes.memset(tensor.data_ptr(), 1, 8)


def step(training: Training) -> None:
    for parameter in training.optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    training.optimizer.step()


def replace_state(training: Training) -> None:
    for values in training.optimizer.state.values():
        values.update({name: value.clone() for name, value in values.items() if isinstance(value, Tensor)})


def load(training: Training) -> None:
    content = training.optimizer.state_dict()
    training.optimizer.load_state_dict({**content, "state": {}})


def weight(training: Training) -> Tensor:
    found: Tensor = training.optimizer.param_groups[0]["params"][0]
    return found.detach()


STATE_CHANGES: dict[str, Change] = {
    "in place": lambda training: first_state(training).add_(1.0),
    "through data": lambda training: first_state(training).data.add_(1.0),
    "through a NumPy view": lambda training: first_state(training).numpy().fill(7.0),
    "through a view": lambda training: first_state(training).view(-1)[:1].fill_(7.0),
    "by address": lambda training: write_by_address(first_state(training)),
    "other memory": lambda training: setattr(first_state(training), "data", first_state(training).clone()),
    "other shape": lambda training: setattr(first_state(training), "data", torch.zeros(1).double()),
    "other tensors": replace_state,
    "step": step,
    "load_state_dict": load,
    "clear": lambda training: training.optimizer.state.clear(),
    "other state": lambda training: setattr(training.optimizer, "state", {}),
}
WEIGHT_CHANGES: dict[str, Change] = {
    "in place": lambda training: weight(training).add_(1.0),
    "through a NumPy view": lambda training: weight(training).numpy().fill(7.0),
    "step": step,
}


def bits(at: Trained) -> list[Any]:
    """All values of weights and optimizer, and where they are in memory."""
    state = [(key, value) for values in at.optimizer.state.values() for key, value in values.items()]
    held = [*at.model.parameters(), *(value for _, value in state if isinstance(value, Tensor))]
    groups = [{**group, "params": [id(each) for each in group["params"]]} for group in at.optimizer.param_groups]
    values = [(id(tensor), tensor.data_ptr(), tensor.detach().numpy().tobytes()) for tensor in held]
    return [values, [key for key, _ in state], groups, id(at.optimizer.state), id(at.optimizer.param_groups)]


def training_of(at: Trained) -> Training:
    return Training(at.config, at.optimizer, at.data)


@pytest.mark.parametrize("change", STATE_CHANGES)
def test_changes_of_adams_state_are_undone_and_reported(change: str) -> None:
    at = trained({"name": "adam", "lr": 0.01})
    training, before = training_of(at), bits(at)
    with training_unchanged(at.model, training) as undone:
        STATE_CHANGES[change](training)
        assert bits(at) != before, "otherwise the change is none"
    assert undone.changed
    assert bits(at) == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda fields: "-".join(map(str, fields.values())))
@pytest.mark.parametrize("change", WEIGHT_CHANGES)
def test_changes_of_weights_are_undone_and_reported(optimizer: dict[str, Any], change: str) -> None:
    at = trained(optimizer)
    training, before = training_of(at), bits(at)
    with training_unchanged(at.model, training) as undone:
        WEIGHT_CHANGES[change](training)
    assert undone.changed
    assert bits(at) == before


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_training_goes_on_as_without_the_change(optimizer: dict[str, Any]) -> None:
    ways = []
    for is_changed in (False, True):
        at = trained(optimizer)
        training = training_of(at)
        with training_unchanged(at.model, training):
            if is_changed:
                step(training)
        step(training)
        ways.append([parameter.detach().numpy().tobytes() for parameter in at.model.parameters()])
    assert ways[0] == ways[1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_reading_is_no_change(optimizer: dict[str, Any]) -> None:
    at = trained(optimizer)
    training = training_of(at)
    with training_unchanged(at.model, training) as undone:
        for parameter in at.model.parameters():
            values = [value for value in training.optimizer.state[parameter].values() if isinstance(value, Tensor)]
            assert all(value.isfinite().all() for value in values)
        training.optimizer.state_dict()
    assert not undone.changed


def test_two_parameters_that_get_the_same_memory_are_separated() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    first, _, last, _ = at.model.parameters()
    with torch.no_grad():
        for parameter in (first, last):
            parameter.grad, parameter.data = None, torch.zeros(2, 2).double()
    before = bits(at)
    with training_unchanged(at.model, None) as undone:
        last.data = first.data
    assert undone.changed
    assert bits(at) == before


def test_the_optimizer_is_copied_only_if_it_is_used() -> None:
    at = trained({"name": "adam", "lr": 0.01})
    training = training_of(at)
    with training_unchanged(at.model, training):
        _ = training.config
    assert at.optimizer not in protection._COPIES
    with training_unchanged(at.model, training):
        _ = training.optimizer
    assert at.optimizer in protection._COPIES


def test_an_optimizer_that_a_function_keeps_is_protected_at_later_records() -> None:
    at = trained({"name": "adam", "lr": 0.01})
    training, kept, before = training_of(at), list[optim.Optimizer](), bits(at)
    with training_unchanged(at.model, training) as undone:
        kept.append(training.optimizer)
    assert not undone.changed
    with training_unchanged(at.model, training_of(at)) as undone:
        next(iter(kept[0].state.values()))["exp_avg"].add_(1.0)
    assert undone.changed
    assert bits(at) == before


def test_the_training_is_restored_if_the_function_raises() -> None:
    at = trained({"name": "adam", "lr": 0.01})
    training, before = training_of(at), bits(at)
    with pytest.raises(ZeroDivisionError), training_unchanged(at.model, training):
        first_state(training).add_(1.0)
        training.optimizer.param_groups[0]["lr"] = 1 / 0
    assert bits(at) == before
