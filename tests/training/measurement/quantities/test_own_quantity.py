"""The user's own quantities are recorded; failures and changes of the model do not affect the trial."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.study.config import MeasurementConfig
from orchestrator.study.record import Record
from orchestrator.training.measurement.context import Context
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.measurement.quantities.own_quantity import check_own_quantities
from tests.training.measurement.measured import trained

RECORD = Record(number=4, timestamp_ms=0, loss_train=1.0)


def norms(context: Context, power: int = 2) -> dict[str, Any]:
    weights = torch.cat([parameter.detach().flatten() for parameter in context.model.parameters()])
    return {
        "norms/weights": weights.norm(power),
        "norms/largest": weights.abs().topk(3).values,
        "norms/by_name": {name: parameter.norm() for name, parameter in context.model.named_parameters()},
        "norms/unknown": None,
    }


def curvature(context: Context) -> float:
    return float(context.gradient @ (context.operator @ context.gradient))


def raising(context: Context) -> float:
    raise RuntimeError(f"no value at record {context.number}")


def rewriting(context: Context) -> float:
    torch.rand(1)
    with torch.no_grad():
        for parameter in context.model.parameters():
            parameter.data.mul_(2.0)
    context.model.train()
    return 1.0


def drawing(context: Context) -> dict[str, float]:
    return {"drawn/python": random.random(), "drawn/numpy": np.random.rand()}  # noqa: NPY002 (as users do)


def returning_text(context: Context) -> Any:
    return {"text/value": "high"}


def returning_a_known_key(context: Context) -> Any:
    return {"hessian/trace": 1.0}


def returning_a_bad_key(context: Context) -> Any:
    return {"a/b/c": 1.0}


def returning_a_column_of_tables(context: Context) -> Any:
    return {"epoch": 1.0}


def returning_the_same_key(context: Context) -> Any:
    return {"norms/weights": 1.0}


def replacing(context: Context) -> float:
    for parameter in context.model.parameters():
        parameter.data = torch.zeros(1)
    return 1.0


def _config(*names: Any) -> MeasurementConfig:
    return MeasurementConfig.model_validate({"estimators": [_named(name) for name in names]})


def _named(name: Any) -> Any:
    return {**name, "name": f"{__name__}:{name['name']}"} if isinstance(name, dict) else f"{__name__}:{name}"


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(40, 6, generator=generator), torch.randint(3, (40,), generator=generator)


def test_scalars_vectors_and_mappings_are_recorded(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    record = Measurement(_config({"name": "norms", "power": 1}), 0, *data).complete(RECORD, model)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert record.metrics()["norms/weights"] == float(weights.norm(1))
    assert record.vectors()["norms/largest"] == tuple(weights.abs().topk(3).values.tolist())
    assert set(record.vectors()["norms/by_name"]) == {name for name, _ in model.named_parameters()}
    assert "norms/unknown" not in record.metrics()
    assert Record.from_json(record.to_json()) == record


def test_a_single_value_has_the_name_of_the_function(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    record = Measurement(_config("curvature"), 0, *data).complete(RECORD, model)
    assert record.metrics()["curvature"] > 0
    assert record.time_per_quantity[f"{__name__}:curvature"] > 0


def test_every_counts_records(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    measurement = Measurement(_config({"name": "curvature", "every": 3}), 0, *data)
    found = [measurement.complete(replace(RECORD, number=number), model) for number in range(7)]
    assert [record.number for record in found if "curvature" in record.metrics()] == [0, 3, 6]


def test_a_quantity_that_raises_is_missing_with_its_traceback(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    record = Measurement(_config("raising", "curvature"), 0, *data).complete(RECORD, model)
    assert set(record.failures) == {f"{__name__}:raising"}
    traceback = record.failures[f"{__name__}:raising"]
    assert "RuntimeError: no value at record 4" in traceback
    assert "in raising" in traceback
    assert "curvature" in record.metrics(), "other quantities are not affected"


def test_draws_of_numpy_and_python_are_the_same_in_every_run(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    measurement = Measurement(_config("drawing"), 0, *data)
    first, again, later = (
        measurement.complete(replace(RECORD, number=number), model).metrics() for number in (4, 4, 5)
    )
    for key in ("drawn/python", "drawn/numpy"):
        assert first[key] == again[key] != later[key]


def test_a_quantity_cannot_change_the_training(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    model.train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stream = torch.get_rng_state()
    record = Measurement(_config("rewriting"), 0, *data).complete(RECORD, model)
    assert "changed weights" in record.failures[f"{__name__}:rewriting"]
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("returning_text", "returned 'high' for text/value, expected a number"),
        ("returning_a_known_key", "returned 'hessian/trace', the key of a built-in quantity"),
        ("returning_a_column_of_tables", "returned the key 'epoch', which tables need for other columns"),
        ("returning_a_bad_key", "returned the key 'a/b/c', expected letters"),
    ],
)
def test_invalid_values_are_explained(name: str, message: str, model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    record = Measurement(_config(name), 0, *data).complete(RECORD, model)
    assert message in record.failures[f"{__name__}:{name}"]


@pytest.mark.parametrize(
    ("config", "message"),
    [("norm", "did you mean 'norms'"), ({"name": "norms", "exponent": 3}, "unexpected keyword argument 'exponent'")],
)
def test_missing_functions_and_settings_are_found_early(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_own_quantities(_config(config))


def changing_the_rate(context: Context) -> float:
    context.required_training("changing_the_rate").optimizer.param_groups[0]["lr"] = 99.0
    context.loss.mean(context.model(context.inputs), context.targets).backward()
    return 1.0


def test_a_quantity_cannot_change_learning_rates_and_gradients() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    cross_entropy(at.model(at.inputs), at.targets).backward()
    before = [parameter.grad.clone() for parameter in at.model.parameters() if parameter.grad is not None]
    at.measure(f"{__name__}:changing_the_rate")
    assert at.optimizer.param_groups[0]["lr"] == 0.1
    after = [parameter.grad for parameter in at.model.parameters()]
    assert all(a is not None and torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_replaced_weights_are_restored(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    record = Measurement(_config("replacing"), 0, *data).complete(RECORD, model)
    assert "changed weights" in record.failures[f"{__name__}:replacing"]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_two_quantities_cannot_return_the_same_key(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    record = Measurement(_config("norms", "returning_the_same_key"), 0, *data).complete(RECORD, model)
    (name,) = record.failures
    assert name.endswith(":returning_the_same_key")
    assert "which" in record.failures[name]
    assert "returned too: rename one of them" in record.failures[name]
    assert record.metrics()["norms/weights"] > 1.0
