"""Batch sharpness against brute force over the drawn minibatches."""

import math
from statistics import stdev

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from estimators import dense_hessian
from estimators.gradients.skewed_mean import skewed_mean_interval
from orchestrator.training.streams import stream
from tests.training.measurement.measured import SAMPLES, Trained, trained

SGD = {"name": "sgd", "lr": 0.1}


def brute_force(at: Trained, index: Tensor) -> float:
    inputs, targets = at.inputs[index], at.targets[index]
    loss = cross_entropy(at.model(inputs), targets)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(at.model.parameters()))])
    hessian = dense_hessian(at.model, cross_entropy, (inputs, targets))
    return float(gradient @ hessian @ gradient / (gradient @ gradient))


def test_the_mean_is_over_disjoint_minibatches_of_the_trial() -> None:
    at = trained(SGD, batch_size=8)
    record = at.measure({"name": "batch_sharpness", "batches": 5})
    found = record.metrics()
    order = torch.randperm(SAMPLES, generator=stream(0, "batch sharpness", 2))
    samples = [brute_force(at, index) for index in order[:40].split(8)]
    assert found["stability/batch_sharpness"] == pytest.approx(sum(samples) / 5, rel=1e-10)
    error = found["stability/batch_sharpness_standard_error"]
    assert error == pytest.approx(stdev(samples) / math.sqrt(5), rel=1e-8)
    assert record.raw["stability/batch_sharpness_samples"] == pytest.approx(samples, rel=1e-10)
    ends = found["stability/batch_sharpness_low"], found["stability/batch_sharpness_high"]
    assert ends == pytest.approx(skewed_mean_interval(samples, 0.95), rel=1e-8)


def test_a_full_batch_has_the_curvature_along_the_gradient_without_error() -> None:
    at = trained(SGD, batch_size="full")
    found = at.measure("batch_sharpness", "gradient_curvature").metrics()
    assert found["stability/batch_sharpness"] == pytest.approx(found["gradient/curvature"], rel=1e-10)
    assert found["stability/batch_sharpness_standard_error"] == 0.0
    ends = found["stability/batch_sharpness_low"], found["stability/batch_sharpness_high"]
    assert ends == (found["stability/batch_sharpness"],) * 2


def test_a_single_minibatch_has_no_error() -> None:
    found = trained(SGD, batch_size=40).measure("batch_sharpness").metrics()
    assert "stability/batch_sharpness" in found
    assert not {f"stability/batch_sharpness_{part}" for part in ("standard_error", "low", "high")} & set(found)
