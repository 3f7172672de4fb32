"""Every operation on the list does what its rule says. The judge is arithmetic: second differences of the values."""

import pytest
import torch
from torch import Tensor, nn

from estimators import linearity
from estimators.linearity.autograd_rules import _RULES
from tests.estimators.cases import seeded
from tests.estimators.linearity.autograd_calls import CALLS, FORBIDDEN, Call

# Those that need a CUDA, ROCm or MPS device.
ELSEWHERE = {"CudnnBatchNorm", "MiopenBatchNorm", "Linear"}
STEP = 1e-3
# Rounding of values of order one, over STEP^2, is 1e-10; a curved operation bends by order one.
BENT = 1e-6


class Called(nn.Module):
    """Outputs are the call's result, as often as there are samples; of two matrices, or both moved by one number."""

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

    def bend(self) -> float:
        """The largest second difference of any output, along one matrix at a time or along both."""
        ways = [(1.0, 1.0)] if self.joint else [(1.0, 0.0), (0.0, 1.0)]
        return max(self._second_difference(torch.tensor(way, dtype=torch.float64)) for way in ways)

    def _second_difference(self, way: Tensor) -> float:
        values = [self.call(*(self.base + t * way[:, None, None] * self.direction)) for t in (-STEP, 0.0, STEP)]
        return float((values[0] - 2.0 * values[1] + values[2]).abs().max()) / STEP**2


def test_every_rule_has_a_call() -> None:
    assert CALLS.keys() | ELSEWHERE == _RULES.keys()
    restricted = {name for name, rule in _RULES.items() if rule.products or rule.curved or rule.setting}
    # Random noise and the mode "max" cannot be differenced, and three dimensions are as two.
    assert (
        restricted - ELSEWHERE - {"EmbeddingBag", "RreluWithNoise", "GridSampler3D", "LinalgCross"} <= FORBIDDEN.keys()
    )


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_exact_in_two_parameters(name: str) -> None:
    model = Called(CALLS[name], joint=False)
    found = linearity(model, torch.ones(2, 1))
    assert found.exact, found.reason
    assert model.bend() < BENT
    operations = found.reason.rpartition(": ")[2].replace("_", "").split(", ")
    assert name.lower() in operations or _RULES[name].constant


@pytest.mark.parametrize("name", CALLS)
def test_a_call_whose_inputs_share_a_parameter(name: str) -> None:
    model = Called(CALLS[name], joint=True)
    found = linearity(model, torch.ones(2, 1))
    assert model.bend() < BENT or not found.exact
    if not _RULES[name].products:
        assert found.exact, found.reason


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_a_rule_forbids(name: str) -> None:
    model = Called(FORBIDDEN[name], joint=False)
    found = linearity(model, torch.ones(2, 1))
    assert not found.exact
    assert found.reason.replace("_", "").startswith(name.lower())
    assert model.bend() > 1e3 * BENT
