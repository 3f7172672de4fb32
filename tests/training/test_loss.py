"""Losses against their formulas and torch, and which losses fit which data."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.study.parts.data_config import OwnData
from orchestrator.study.parts.loss_config import CrossEntropyConfig
from orchestrator.study.parts.loss_config import Loss as LossConfig
from orchestrator.training.data.images.digits import load_digits
from orchestrator.training.data.in_memory.own_data import load_own_data
from orchestrator.training.data.samples import Samples
from orchestrator.training.data.task import Task
from orchestrator.training.loss import CROSS_ENTROPY, Loss, build_loss, check_loss
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.estimators.cases import seeded

OUTPUTS = torch.randn(6, 4, dtype=torch.float64, generator=seeded(0))
CLASSES = torch.tensor([0, 3, 1, 1, 2, 0])
VALUES = torch.randn(6, 4, dtype=torch.float64, generator=seeded(1))


def built(config: Any, task: Task) -> Loss:
    return build_loss(TypeAdapter(LossConfig).validate_python(config), replace(load_digits(), task=task))


def test_the_default_is_the_function_of_torch() -> None:
    assert built("cross_entropy", Task.CLASSES) is CROSS_ENTROPY
    assert CROSS_ENTROPY.mean is F.cross_entropy


@pytest.mark.parametrize(
    ("config", "task", "targets", "expected"),
    [
        ({"name": "cross_entropy", "label_smoothing": 0.2}, Task.CLASSES, CLASSES,
         lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2)),
        ("mse", Task.CLASSES, CLASSES, lambda z, y: 0.5 * (z - torch.eye(4)[y]).square().sum(1).mean()),
        ("mse", Task.VALUES, VALUES, lambda z, y: 0.5 * (z - y).square().sum(1).mean()),
        ({"name": "mse", "factor": 1.0}, Task.VALUES, VALUES, lambda z, y: (z - y).square().sum(1).mean()),
        ({"name": "mse", "factor": "mean"}, Task.VALUES, VALUES, F.mse_loss),
        ("binary_cross_entropy", Task.LABELS, (VALUES > 0).double(), lambda z, y:
         -(y * z.sigmoid().log() + (1 - y) * (-z).sigmoid().log()).mean()),
    ],
)  # fmt: skip
def test_losses_are_their_formulas(config: Any, task: Task, targets: Tensor, expected: Any) -> None:
    loss = built(config, task)
    assert float(loss.mean(OUTPUTS, targets)) == pytest.approx(float(expected(OUTPUTS, targets)), rel=1e-12)
    assert float(loss.sum(OUTPUTS, targets)) == pytest.approx(6 * float(loss.mean(OUTPUTS, targets)), rel=1e-12)


def test_squared_error_of_classes_runs_under_vmap() -> None:
    """Otherwise the check that a loss is a mean evaluates every sample in a loop, for most of the time of a record."""
    loss = built("mse", Task.CLASSES)
    each = torch.func.vmap(loss.mean)(OUTPUTS[:, None], CLASSES[:, None])
    assert float(each.mean()) == pytest.approx(float(loss.mean(OUTPUTS, CLASSES)), rel=1e-12)


def test_squared_error_predicts_a_label_above_one_half() -> None:
    assert built("mse", Task.LABELS).label_threshold == 0.5
    assert built("binary_cross_entropy", Task.LABELS).label_threshold == 0.0


def test_tokens_are_averaged_over_the_positions_with_a_target() -> None:
    outputs = torch.randn(3, 5, 4, dtype=torch.float64, generator=seeded(2))
    targets = torch.randint(4, (3, 5), generator=seeded(3))
    targets[:, :2] = -100
    loss = built("cross_entropy", Task.TOKENS)
    each = [nn.functional.nll_loss(z.log_softmax(1), y) for z, y in zip(outputs[:, 2:], targets[:, 2:], strict=True)]
    assert float(loss.mean(outputs, targets)) == pytest.approx(float(torch.stack(each).mean()), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "task", "fitting"),
    [
        ("mse", Task.TOKENS, "cross_entropy"),
        ("cross_entropy", Task.VALUES, "mse"),
        ("binary_cross_entropy", Task.CLASSES, "cross_entropy or mse"),
        ("cross_entropy", Task.LABELS, "binary_cross_entropy or mse"),
    ],
)
def test_a_loss_that_does_not_fit_the_data_is_refused(name: str, task: Task, fitting: str) -> None:
    with pytest.raises(ValueError, match=f"loss {name} does not fit data with .*: use loss: {fitting}"):
        built(name, task)


def test_real_targets_that_are_meant_as_classes_get_a_fix() -> None:
    with pytest.raises(ValueError, match=r"or targets that are classes: int64 in a function, data\.task: classes in a"):
        built("cross_entropy", Task.VALUES)


def own(name: str, **arguments: Any) -> tuple[Any, Loss]:
    config = TypeAdapter(LossConfig).validate_python({"name": f"tests.training.user_data:{name}", **arguments})
    return config, build_loss(config, DATA)


DATA = load_own_data(OwnData(name="tests.training.user_data:values"))


def test_a_loss_of_ones_own_gets_its_arguments() -> None:
    config, loss = own("huber", delta=0.5)
    check_loss(config, loss, nn.Linear(3, 1), DATA)
    assert torch.equal(loss.mean(OUTPUTS, VALUES), F.huber_loss(OUTPUTS, VALUES, delta=0.5))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("summed", "for 2 samples, the mean of their single losses is .*: it must be a mean over samples"),
        ("per_sample", r"returned torch.float32 \(2,\), expected a scalar float tensor: take the mean over samples"),
        ("constant", "has no gradient: compute it from the outputs"),
        ("detached", "has no gradient: compute it from the outputs"),
        ("not_a_number", "is nan for the untrained network on 2 samples"),
        ("changing_targets", "changes its targets: work on a copy"),
        ("complex_valued", r"returned torch.complex64 \(\), expected a scalar float tensor"),
        ("random", "for the same outputs: .* do not draw random numbers in a loss"),
        ("broken", "raised when called with outputs .*: RuntimeError: wrong device"),
    ],
)
def test_a_wrong_loss_of_ones_own_is_refused(name: str, message: str) -> None:
    config, loss = own(name)
    with pytest.raises((ValueError, UserCodeError), match=message):
        check_loss(config, loss, nn.Linear(3, 1), DATA)


def test_what_is_no_function_of_outputs_and_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="loss 'torch.nn:HuberLoss' is a class, expected a function loss"):
        build_loss(TypeAdapter(LossConfig).validate_python("torch.nn:HuberLoss"), DATA)
    with pytest.raises(ValueError, match="loss 'torch:dist' is compiled and has no signature"):
        build_loss(TypeAdapter(LossConfig).validate_python("torch:dist"), DATA)
    with pytest.raises(ValueError, match=r"with 2 positional arguments: .* its signature is of_outputs\(outputs: "):
        own("of_outputs")


def test_tokens_need_the_same_number_of_targets_per_sample() -> None:
    samples = Samples(torch.zeros(3, 4).long(), torch.zeros(3, 4).long())
    samples.targets[1, :2] = -100
    data = replace(load_digits(), train=samples, validation=samples[:0], test=samples[:1], task=Task.TOKENS)
    with pytest.raises(ValueError, match="samples have 2 to 4 positions with a target, .* give every sample the same"):
        build_loss(CrossEntropyConfig(name="cross_entropy"), data)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="loss '.*huber' cannot be called with beta=1.0"):
        own("huber", beta=1.0)
