"""Measurements do not change the model, agree with the dense Hessian and report standard errors."""

import ctypes
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import dense_hessian
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.quantities.catalogue import BUILT_IN, estimators_named
from orchestrator.study.quantities.quantity import is_reproducible
from orchestrator.study.record import Record
from orchestrator.training.measurement.measurement import Measurement

RECORD = Record(number=3, timestamp_ms=0, loss_train=1.0)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)]
    model = nn.Sequential(*layers)
    model(torch.randn(50, 6))  # changes the running statistics
    return model


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(40, 6, generator=generator), torch.randint(3, (40,), generator=generator)


@pytest.mark.parametrize("name", [name for name, kind in BUILT_IN.items() if kind.record_keys])
def test_declared_fields_of_records_are_measured(name: str, data: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    config = MeasurementConfig(estimators=estimators_named(name))
    always = Measurement(MeasurementConfig(estimators=()), 0, *data).complete(RECORD, model).metrics()
    found = set(Measurement(config, 0, *data).complete(RECORD, model).metrics())
    assert found - set(always) == set(BUILT_IN[name].record_keys)


def test_the_model_is_not_changed(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    model.train()
    model[1].eval()  # modes are restored per module
    cross_entropy(model(data[0]), data[1]).backward()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    Measurement(MeasurementConfig(), 0, *data).complete(RECORD, model)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(random, torch.get_rng_state())


def test_estimates_agree_with_the_dense_hessian(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    model.double().eval()
    inputs, targets = data[0].double(), data[1]
    config = MeasurementConfig(lanczos_products=60, algorithm1_iterations=300, algorithm1_probes=1000)
    record = Measurement(config, 0, inputs, targets).complete(RECORD, model)
    hessian = dense_hessian(model, cross_entropy, (inputs, targets))
    eigenvalues = torch.linalg.eigvalsh(hessian)
    assert record.hessian_lambda_max == pytest.approx(float(eigenvalues[-1]), rel=1e-8)
    assert record.hessian_lambda_min == pytest.approx(float(eigenvalues[0]), rel=1e-6)
    largest = eigenvalues[eigenvalues.abs().argmax()]
    assert record.algorithm1_max_eigenvalue == pytest.approx(float(largest), rel=1e-6)
    assert record.hessian_trace is not None
    assert record.hessian_trace_standard_error is not None
    assert abs(record.hessian_trace - float(hessian.trace())) < 4 * record.hessian_trace_standard_error
    # Var[v'Hv] = 2 ||H||_F^2 for Gaussian probes.
    assert record.algorithm1_trace_std == pytest.approx(2**0.5 * float(hessian.norm()), rel=0.1)
    gradients = torch.autograd.grad(cross_entropy(model(inputs), targets), list(model.parameters()))
    assert record.gradient_norm == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()), rel=1e-12)


def test_record_contains_raw_samples_and_number_of_products(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    record = Measurement(MeasurementConfig(), 0, *data).complete(RECORD, model)
    assert [len(v) for key, v in record.vectors().items() if not key.startswith("time/")] == [10, 10, 10]
    assert set(record.time_per_quantity) == {"lanczos", "algorithm1"}
    assert record.hessian_products == 30
    assert record.algorithm1_rayleigh_quotients[-1] == record.algorithm1_max_eigenvalue
    assert sum(record.algorithm1_trace_samples) / 10 == pytest.approx(record.algorithm1_trace)
    assert record.lanczos_history[-1] == record.hessian_lambda_max


def test_only_the_first_measurement_validates_and_later_ones_give_the_same_numbers(
    model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    names = ("lanczos", "top_eigenvalues", "exact_trace", "gauss_newton", "layers", "spectral_density")
    config = MeasurementConfig(lanczos_coarse_fraction=0.3, estimators=estimators_named(*names))
    samples: list[int] = []
    model.register_forward_hook(lambda _, inputs, __: samples.append(len(inputs[0])))
    measurement = Measurement(config, 0, *data)

    def measured(measurement: Measurement, number: int) -> dict[str, float]:
        samples.clear()
        metrics = measurement.complete(replace(RECORD, number=number), model).metrics()
        return {key: value for key, value in metrics.items() if is_reproducible(key)}

    measured(measurement, 0)
    later, few = measured(measurement, 2), sum(samples)
    assert later == measured(Measurement(config, 0, *data), 2)
    assert few < sum(samples)


def test_algorithm1_runs_every_n_epochs(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    measurement = Measurement(MeasurementConfig(algorithm1_every=2), 0, *data)
    without = measurement.complete(replace(RECORD, number=3), model)
    assert without.algorithm1_trace is None
    assert without.hessian_trace is None
    assert without.hessian_lambda_max is not None
    assert measurement.complete(replace(RECORD, number=4), model).hessian_trace is not None


def test_algorithm1_alone_estimates_lambda_max_unless_negative(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    config = MeasurementConfig(estimators=estimators_named("algorithm1"), algorithm1_iterations=30)
    record = Measurement(config, 0, *data).complete(RECORD, model)
    assert record.hessian_lambda_min is None
    assert record.algorithm1_max_eigenvalue is not None
    expected = record.algorithm1_max_eigenvalue if record.algorithm1_max_eigenvalue >= 0 else None
    assert record.hessian_lambda_max == expected


@pytest.mark.parametrize("estimator", ["exact_trace", "sampled_trace"])
def test_trace_of_a_relu_network_without_probes(estimator: str, model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    model.double().eval()
    inputs, targets = data[0].double(), data[1]
    config = MeasurementConfig(estimators=estimators_named(estimator, "algorithm1"))
    record = Measurement(config, 0, inputs, targets).complete(RECORD, model)
    diagonal = dense_hessian(model, cross_entropy, (inputs, targets)).diagonal()
    parts = diagonal.split([parameter.numel() for parameter in model.parameters()])
    expected = {name: float(part.sum()) for (name, _), part in zip(model.named_parameters(), parts, strict=True)}
    assert record.hessian_trace is not None
    assert record.hessian_trace_standard_error is not None
    if estimator == "exact_trace":
        assert record.hessian_trace == pytest.approx(float(diagonal.sum()), rel=1e-10)
        assert record.hessian_trace_standard_error == 0.0
        assert record.trace_per_parameter == pytest.approx(expected, rel=1e-8)
    else:
        assert record.hessian_trace_standard_error > 0.0
        assert abs(record.hessian_trace - float(diagonal.sum())) < 4 * record.hessian_trace_standard_error
        assert sum(record.trace_per_parameter.values()) == pytest.approx(record.hessian_trace)
        assert record.trace_per_parameter.keys() == expected.keys()
    # The estimate of Algorithm 1 is stored separately. The trace of a ReLU network needs no other probes.
    assert record.algorithm1_trace != record.hessian_trace
    assert record.hessian_gauss_newton_trace is None
    assert record.trace_samples == ()


def test_the_trace_of_a_network_that_is_not_piecewise_linear(data: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs, targets = data[0].double(), data[1]
    config = MeasurementConfig(estimators=estimators_named("exact_trace"))
    record = Measurement(config, 0, inputs, targets).complete(RECORD, model)
    trace = float(dense_hessian(model, cross_entropy, (inputs, targets)).trace())
    assert record.hessian_trace is not None
    assert record.hessian_trace_standard_error is not None
    assert record.hessian_gauss_newton_trace is not None
    assert record.hessian_trace_standard_error > 0.0
    assert abs(record.hessian_trace - trace) < 4 * record.hessian_trace_standard_error
    assert abs(record.hessian_gauss_newton_trace - trace) > 1e-3 * abs(trace)
    assert len(record.trace_samples) == 10
    assert record.hessian_products == 10
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_lanczos_stops_at_the_tolerance(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    inputs, targets = data[0].double(), data[1]
    config = MeasurementConfig(estimators=estimators_named("lanczos"), lanczos_products=50, lanczos_tolerance=0.1)
    record = Measurement(config, 0, inputs, targets).complete(RECORD, model.double())
    assert record.hessian_products is not None
    assert record.hessian_products < 30
    largest = torch.linalg.eigvalsh(dense_hessian(model.eval(), cross_entropy, (inputs, targets)))[-1]
    assert record.hessian_lambda_max == pytest.approx(float(largest), rel=0.1)


def test_probes_depend_on_the_seed(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    first, again, other = (
        Measurement(MeasurementConfig(), seed, *data).complete(replace(RECORD, number=epoch), model)
        for seed, epoch in [(0, 3), (0, 3), (1, 3)]
    )
    assert first.differences(again) == {}
    assert "algorithm1/trace" in first.differences(other)


def test_a_diverged_trial_is_not_measured(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    record = replace(RECORD, loss_train=float("nan"))
    assert Measurement(MeasurementConfig(), 0, *data).complete(record, model) is record


def test_modes_are_restored_after_an_exception(data: tuple[Tensor, Tensor]) -> None:
    model = nn.Linear(6, 3).half()
    with pytest.raises(ValueError, match="float32"):
        Measurement(MeasurementConfig(), 0, *data).complete(RECORD, model)
    assert model.training


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps freed memory")
def test_freed_memory_is_returned_to_the_system() -> None:
    measure = """
import torch
from tests.training.measurement.test_measurement import MeasurementConfig, Measurement, Record
from orchestrator.study.parts.model_config import CnnConfig
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature

torch.set_num_threads(1)
model = build_model(CnnConfig(name="cnn"), Signature((3, 32, 32), 10), seed=0)
config = MeasurementConfig.model_validate({"estimators": ["lanczos"], "lanczos_products": 2})
measurement = Measurement(config, 0, torch.randn(500, 3, 32, 32), torch.randint(10, (500,)))

def resident():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * 4096

measurement.complete(Record(number=0, timestamp_ms=0, loss_train=1.0), model)
before = resident()
measurement.complete(Record(number=1, timestamp_ms=1, loss_train=1.0), model)
assert resident() - before < 2**25, (resident() - before) / 2**20
with open("/proc/self/status") as status:
    peak = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
assert peak - resident() > 2**27, (peak - resident()) / 2**20
"""
    subprocess.run([sys.executable, "-c", measure], check=True)
