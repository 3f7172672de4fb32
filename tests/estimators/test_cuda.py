"""On CUDA, products and traces do not synchronize with the device, and float32 is not rounded to TF32."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import HessianOperator, exact_trace, hutchinson, lanczos, sampled_trace
from estimators.trace import gauss_newton as gauss_newton_trace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = torch.device("cuda")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 100), nn.ReLU(), nn.Linear(100, 10))


def samples(count: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 16, 16, generator=generator), torch.randint(10, (count,), generator=generator)


def on(device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    inputs, labels = samples()
    return network().to(device, dtype), (inputs.to(device, dtype), labels.to(device))


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(task: Callable[[], object]) -> int:
    """Number of times a call synchronizes with the device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            task()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in found)


@pytest.mark.parametrize("budget", [0, 2**30])
def test_products_do_not_synchronize(budget: int) -> None:
    model, batches = on(CUDA)
    op = HessianOperator(model, cross_entropy, batches, chunk_size=100, memory_budget=budget)
    vector = torch.randn(op.size, device=CUDA)
    with op.keeping_graphs():
        op.matvec(vector)  # with the check that the loss is a mean
        with waiting_is_an_error():
            op.matvec(vector)
            op.matmat(torch.stack([vector, vector], dim=1))


def test_lanczos_synchronizes_once_per_step() -> None:
    model, batches = on(CUDA)
    op = HessianOperator(model, cross_entropy, batches)
    with op.keeping_graphs():
        op.matvec(torch.randn(op.size, device=CUDA))
        few, many = (
            waits(lambda steps=steps: lanczos(op, steps, tolerance=0.0))  # type: ignore[misc]
            for steps in (3, 8)
        )
    assert many - few <= 5


def test_hutchinson_synchronizes_once_for_all_probes() -> None:
    model, batches = on(CUDA)
    op = HessianOperator(model, cross_entropy, batches)
    with op.keeping_graphs():
        op.matvec(torch.randn(op.size, device=CUDA))
        few, many = (waits(lambda probes=probes: hutchinson(op, probes)) for probes in (3, 8))  # type: ignore[misc]
    assert many == few


def test_columns_of_a_trace_do_not_synchronize(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = on(CUDA)
    contribution = gauss_newton_trace._AllColumns.contribution

    def checked(self: Any, chunk: Any) -> Any:
        with waiting_is_an_error():
            return contribution(self, chunk)

    monkeypatch.setattr(gauss_newton_trace._AllColumns, "contribution", checked)
    assert exact_trace(model, cross_entropy, batches, chunk_size=100).exact


def test_float32_is_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    found, exact = (HessianOperator(model, cross_entropy, batches) for model, batches in (on(CUDA), on_double()))
    vector = torch.randn(found.size, generator=torch.Generator().manual_seed(2))
    expected = exact.matvec(vector.double())
    product = found.matvec(vector.to(CUDA)).cpu().double()
    assert float((product - expected).norm() / expected.norm()) < 2e-6
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_results_match_the_cpu() -> None:
    (model, batches), (reference, data) = on(CUDA), on_double()
    ours, theirs = HessianOperator(model, cross_entropy, batches), HessianOperator(reference, cross_entropy, data)
    found, expected = (lanczos(op, 30, generator=torch.Generator().manual_seed(3)) for op in (ours, theirs))
    assert found.lambda_max == pytest.approx(expected.lambda_max, rel=1e-4)
    trace = exact_trace(model, cross_entropy, batches).value
    assert trace == pytest.approx(exact_trace(reference, cross_entropy, data).value, rel=1e-5)
    for device, device_model, device_data in ((CUDA, model, batches), (torch.device("cpu"), reference, data)):
        sampled = sampled_trace(device_model, cross_entropy, device_data, generator=torch.Generator().manual_seed(4))
        assert sampled.value == pytest.approx(trace, abs=5 * sampled.standard_error), device


def on_double() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return on(torch.device("cpu"), torch.float64)
