"""The precision of a chunk's loss is chosen again only if its outputs or targets have changed."""

import torch
from torch import nn

from estimators import HessianOperator
from estimators.operators.graphs.loss_choices import LossChoices
from estimators.problem.checks import LossFunction
from tests.estimators.cases import assert_relatively_close, random_vector
from tests.estimators.fitted import fitted, in_double

F = nn.functional


def test_a_choice_is_kept_for_equal_outputs_and_targets() -> None:
    choices, calls = LossChoices(), 0

    def choose() -> LossFunction:
        nonlocal calls
        calls += 1
        return F.mse_loss

    outputs, targets = torch.randn(4, 3), torch.randn(4, 3)
    for _ in range(2):
        assert choices.get(0, outputs.clone(), targets.clone(), choose) is F.mse_loss
    assert calls == 1
    choices.get(1, outputs, targets, choose)
    choices.get(0, outputs + 1.0, targets, choose)
    # The caller's data may be overwritten in place.
    targets += 1.0
    choices.get(1, outputs, targets, choose)
    choices.get(1, outputs.double(), targets, choose)
    assert calls == 5


def test_many_outputs_are_not_remembered() -> None:
    choices, calls = LossChoices(), []
    outputs = torch.zeros(2, 2**21)
    for _ in range(2):
        choices.get(0, outputs, torch.zeros(2), lambda: calls.append(1) or F.mse_loss)  # type: ignore[func-returns-value]
    assert len(calls) == 2


def test_weights_written_through_data_change_the_choice() -> None:
    (model, pair), (other, _) = fitted(0.5), fitted(5e-9)
    op = HessianOperator(model, F.cross_entropy, pair, memory_budget=0)
    vector = random_vector(op)
    op @ vector
    for parameter, new in zip(model.parameters(), other.parameters(), strict=True):
        parameter.data.copy_(new.data)
    double, data = in_double(other, pair)
    expected = HessianOperator(double, F.cross_entropy, data) @ vector.double()
    for _ in range(2):
        assert_relatively_close((op @ vector).double(), expected, 2e-5)
