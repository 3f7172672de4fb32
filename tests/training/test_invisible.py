"""Training is bit-identical with and without estimators between its steps."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import (
    GaussNewtonOperator,
    HessianOperator,
    dense_hessian,
    exact_trace,
    hessian_trace,
    hutchinson,
    lanczos,
    linearity,
    power_iteration,
    sampled_trace,
)
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.record import Record
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.optimizers.build import build_optimizer
from tests.estimators.cases import seeded
from tests.estimators.observed_state import assert_same, snapshot
from tests.training.test_loop import OPTIMIZERS
from tests.training.trials import small_trial

Data = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Uses one thread, which is faster for such small networks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def piecewise_linear() -> nn.Module:
    """Returns a network with an exact trace."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout2d(0.3),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


def smooth() -> nn.Module:
    """Returns a network whose trace needs probes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6), nn.GELU(), nn.Dropout(0.3), nn.Linear(6, 4))


def algorithm_1(model: nn.Module, data: Data) -> None:
    op = HessianOperator(model, cross_entropy, data, chunk_size=7)
    power_iteration(op, 2, seeded(0))
    hutchinson(op, 2, generator=seeded(1))


def spectra(model: nn.Module, data: Data) -> None:
    for kind in (HessianOperator, GaussNewtonOperator):
        op = kind(model, cross_entropy, data)
        with op.keeping_graphs():
            found = lanczos(op, 3, generator=seeded(0))
            lanczos(op.subset(0.5), 2, initial=found.vector, generator=seeded(1))
            hutchinson(op, 3, "rademacher", deflate=found, generator=seeded(1))


def traces(model: nn.Module, data: Data) -> None:
    exact_trace(model, cross_entropy, data, chunk_size=5)
    sampled_trace(model, cross_entropy, data, generator=seeded(0))
    op = HessianOperator(model, cross_entropy, data)
    hessian_trace(op, 2, generator=seeded(0))
    hessian_trace(op, 2, sampled=True, generator=seeded(0))


def whole_matrix(model: nn.Module, data: Data) -> None:
    dense_hessian(model, cross_entropy, data)
    linearity(model, data[0])


def a_trials_measurement(model: nn.Module, data: Data) -> None:
    config = MeasurementConfig(lanczos_products=2, algorithm1_iterations=2, algorithm1_probes=2)
    assert Measurement(config, 0, *data).complete(Record(1, 0, loss_train=1.0), model).hessian_trace is not None


MEASURED: list[Callable[[nn.Module, Data], None]] = [algorithm_1, spectra, traces, whole_matrix, a_trials_measurement]


def batches() -> list[Data]:
    inputs = torch.randn(60, 1, 6, 6, generator=seeded(1))
    return list(zip(inputs.split(12), torch.randint(4, (60,), generator=seeded(2)).split(12), strict=True))


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """Returns weights, buffers, gradients, modes, identities, random streams, flags, and the optimizer's state."""
    found = snapshot(model)
    for index, parameter in enumerate(model.parameters()):
        for name, value in optimizer.state[parameter].items():
            found[f"optimizer {index} {name}"] = value.clone() if isinstance(value, Tensor) else value
    found["groups"] = [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
    return found


def without_identities(state: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in state.items() if not key.startswith("identity")}


def trained(build: Callable[[], nn.Module], optimizer: dict[str, Any], measure: bool) -> dict[str, object]:
    """Returns the state after five steps. If `measure` is set, a different estimator runs in each step."""
    torch.manual_seed(0)
    model = build()
    built = build_optimizer(small_trial(optimizer=optimizer).optimizer, model.parameters())
    data = batches()
    measured = (torch.cat([inputs for inputs, _ in data[:2]]), torch.cat([labels for _, labels in data[:2]]))
    for (inputs, labels), call in zip(data, MEASURED, strict=True):
        built.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        if measure:
            # Measure between the backward pass and the optimizer step.
            model.eval()
            before = copy.deepcopy(state_of(model, built))
            call(model, measured)
            after = state_of(model, built)
            assert_same(after, before)
            model.train()
        built.step()
    return state_of(model, built)


@pytest.mark.parametrize("build", [piecewise_linear, smooth])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: f"{optimizer['name']}{len(optimizer)}")
def test_measuring_does_not_change_training(build: Callable[[], nn.Module], optimizer: dict[str, Any]) -> None:
    with torch.random.fork_rng(devices=[]):
        measured, alone = (trained(build, optimizer, measure) for measure in (True, False))
    assert len(alone) > 20 and any(key.startswith("optimizer") for key in alone)
    assert_same(without_identities(measured), without_identities(alone))


@pytest.mark.parametrize("measure", MEASURED)
def test_every_estimator_preserves_statistics_modes_and_gradients(measure: Callable[[nn.Module, Data], None]) -> None:
    """Some parameters have a gradient, some have none, and some are frozen."""
    torch.manual_seed(0)
    model = piecewise_linear()
    data = batches()[0]
    cross_entropy(model(data[0]), data[1]).backward()
    model[0].weight.grad = None  # type: ignore[union-attr]
    model[1].bias.requires_grad_(False)  # type: ignore[union-attr, operator]
    model.eval()
    before = copy.deepcopy(snapshot(model))
    measure(model, data)
    assert_same(snapshot(model), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
