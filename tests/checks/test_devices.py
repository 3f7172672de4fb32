"""Checks of cores, memory and GPUs."""

import os
import sys

import pytest
import torch

from orchestrator.checks.devices import check_cores, check_devices, check_ray_resources
from orchestrator.checks.finding import Severity, ok
from orchestrator.study.sweep import Resources, Sweep
from tests.training.trials import small_trial


def sweep(resources: Resources) -> Sweep:
    return Sweep("wide", "", (small_trial(),), resources)


def test_every_device_is_tested() -> None:
    first, *gpus = check_devices()
    assert first == ok("devices", "cpu: torch computes correctly")
    assert len(gpus) == torch.cuda.device_count()


def test_a_missing_torch_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = check_devices()
    assert finding.severity is Severity.PROBLEM
    assert finding.text.startswith("torch cannot be imported (")


def test_a_requested_but_missing_gpu_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    _, finding = check_cores(sweep(Resources(gpu=0.5)))
    assert finding.severity is Severity.WARNING
    assert finding.text == "torch finds 0 GPUs here, but a trial of sweep 'wide' requests gpu: 0.5"
    for gpu in (0.0, "auto"):
        assert len(list(check_cores(sweep(Resources(gpu=gpu))))) == 1


def test_more_memory_than_there_is_is_a_warning() -> None:
    *_, finding = check_cores(sweep(Resources(memory_gib=9e6)))
    assert finding.severity is Severity.WARNING
    assert finding.text == "a trial of sweep 'wide' requests memory_gib: 9e+06, more than this machine has"
    assert finding.text not in [each.text for each in check_cores(sweep(Resources(memory_gib=0.1)))]


def test_unusable_cores_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.devices.usable_cores", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    (finding,) = check_cores(sweep(Resources(cpu=2)))
    assert finding.severity is Severity.WARNING
    assert finding.text.startswith("64 cores, 4 usable")
    assert finding.fix == "run fewer trials at a time: --max-concurrent 2"


def test_a_node_that_has_what_ray_offers_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.devices.usable_cores", lambda: 4)
    monkeypatch.setattr("orchestrator.training.devices.gpus", lambda: [torch.device("cuda:0")])
    assert list(check_ray_resources(4.0, 1.0)) == [ok("devices", "4 CPUs, 1 GPUs")]


@pytest.mark.parametrize(
    ("cpus", "gpus", "severities"),
    [
        (5.0, 0.0, [Severity.WARNING]),
        (4.0, 1.0, [Severity.PROBLEM]),
        (5.0, 1.0, [Severity.WARNING, Severity.PROBLEM]),
    ],
)
def test_a_node_that_lacks_what_ray_offers_is_not_ok(
    monkeypatch: pytest.MonkeyPatch, cpus: float, gpus: float, severities: list[Severity]
) -> None:
    monkeypatch.setattr("orchestrator.training.devices.usable_cores", lambda: 4)
    monkeypatch.setattr("orchestrator.training.devices.gpus", list)
    assert [finding.severity for finding in check_ray_resources(cpus, gpus)] == severities
