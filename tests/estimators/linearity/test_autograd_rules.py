"""Tests every autograd rule against second differences of the operation's values."""

import pytest
import torch
from torch import Tensor, nn

from estimators import linearity
from estimators.linearity.autograd_rules import _RULES
from tests.estimators.cases import seeded
from tests.estimators.linearity.autograd_calls import CALLS, EXCLUDED, Call

# Operations that need a CUDA, ROCm or MPS device.
ELSEWHERE = {"CudnnBatchNorm", "MiopenBatchNorm", "Linear"}
STEP = 1e-3
# Threshold for second differences. Rounding errors, divided by STEP^2, contribute about 1e-10. A curved
# operation contributes about one.
MAX_CURVATURE = 1e-6


class Called(nn.Module):
    """Returns a call's result for every sample. The parameters are two matrices, or one number that shifts both."""

    def __init__(self, call: Call, joint: bool) -> None:
        super().__init__()
        self.call, self.joint = call, joint
        self.base, self.direction = torch.randn(2, 2, 4, 4, dtype=torch.float64, generator=seeded(5)).unbind()
        if joint:
            self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))
        else:
            self.first, self.second = (nn.Parameter(matrix.clone()) for matrix in self.base)

    def forward(self, inputs: Tensor) -> Tensor:
        x, y = self.base + self.shift * self.direction if self.joint else (self.first, self.second)
        return self.call(x, y).reshape(1, -1).expand(len(inputs), -1)

    def curvature(self) -> float:
        """The largest second difference of any output, along one matrix at a time or along both."""
        directions = [(1.0, 1.0)] if self.joint else [(1.0, 0.0), (0.0, 1.0)]
        return max(self._second_difference(torch.tensor(weights, dtype=torch.float64)) for weights in directions)

    def _second_difference(self, weights: Tensor) -> float:
        values = [self.call(*(self.base + t * weights[:, None, None] * self.direction)) for t in (-STEP, 0.0, STEP)]
        return float((values[0] - 2.0 * values[1] + values[2]).abs().max()) / STEP**2


def test_every_rule_has_a_call() -> None:
    assert CALLS.keys() | ELSEWHERE == _RULES.keys()
    restricted = {name for name, rule in _RULES.items() if rule.products or rule.curved or rule.setting}
    # Noise and the mode "max" have no second differences; three dimensions behave like two.
    assert (
        restricted - ELSEWHERE - {"EmbeddingBag", "RreluWithNoise", "GridSampler3D", "LinalgCross"} <= EXCLUDED.keys()
    )


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_exact_in_two_parameters(name: str) -> None:
    model = Called(CALLS[name], joint=False)
    found = linearity(model, torch.ones(2, 1))
    assert found.exact, found.reason
    assert model.curvature() < MAX_CURVATURE
    operations = found.reason.rpartition(": ")[2].replace("_", "").split(", ")
    assert name.lower() in operations or _RULES[name].constant


@pytest.mark.parametrize("name", CALLS)
def test_a_call_whose_inputs_share_a_parameter(name: str) -> None:
    model = Called(CALLS[name], joint=True)
    found = linearity(model, torch.ones(2, 1))
    assert model.curvature() < MAX_CURVATURE or not found.exact
    if not _RULES[name].products:
        assert found.exact, found.reason


@pytest.mark.parametrize("name", EXCLUDED)
def test_excluded_calls_are_not_exact(name: str) -> None:
    model = Called(EXCLUDED[name], joint=False)
    found = linearity(model, torch.ones(2, 1))
    assert not found.exact
    assert found.reason.replace("_", "").startswith(name.lower())
    assert model.curvature() > 1e3 * MAX_CURVATURE
