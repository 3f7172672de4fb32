"""Tests per-sample norms against autograd, computed by rules, vectorised, or one sample at a time."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from estimators.per_sample import norms as norms_module
from estimators.per_sample.norms import ChunkNorms, Norms, SampleNorms, vectorised
from estimators.problem.checks import trainable_parameters
from estimators.problem.isolation import measuring
from tests.estimators.cases import seeded
from tests.estimators.networks import NETWORKS


def test_attention_is_vectorised_and_data_dependent_branches_are_not() -> None:
    network = next(network for network in NETWORKS if network.name == "attention")
    model, inputs = network.model(), network.inputs(4)
    with measuring(model, inputs.device):
        plan = SampleNorms(model, trainable_parameters(model), inputs[:2])
        assert plan.vectorised == set(network.without_rule) and not plan.one_by_one

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

        def forward(self, inputs: Tensor) -> Tensor:
            rows = [self.scale * row if float(row.sum()) > 0 else row - self.shift for row in inputs[:, 0]]
            return torch.stack(rows)

    branching, inputs = Branching().double(), NETWORKS[7].inputs(6)
    column = torch.ones(6, 3, dtype=torch.float64)
    with measuring(branching, inputs.device):
        plan = SampleNorms(branching, trainable_parameters(branching), inputs[:2])
        assert not plan.vectorised
        found = plan.chunk(inputs).summed([(column, 1.0)], 1)
    positive = inputs[:, 0].sum(dim=1) > 0
    assert 0 < int(positive.sum()) < 6
    torch.testing.assert_close(found["scale"], inputs[:, 0].square().sum(dim=1) * positive)
    torch.testing.assert_close(found["shift"], 3.0 * (~positive).double())


def test_vectorised_gradients_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS[0]
    model, inputs = network.model(), network.inputs(5)
    column = torch.ones(5, 3, dtype=torch.float64)
    whole = vectorised(model, trainable_parameters(model), inputs, column)
    monkeypatch.setattr("estimators.per_sample.norms._WORKSPACE", 1)
    for name, norms in vectorised(model, trainable_parameters(model), inputs, column).items():
        torch.testing.assert_close(norms, whole[name])


def test_memory_of_several_columns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms are computed as soon as the gradients reach the memory limit; the sums are the same."""
    network = NETWORKS[0]
    model, inputs = network.model(), network.inputs(4)
    columns = [(column, 1.0) for column in torch.randn(5, 4, 3, dtype=torch.float64, generator=seeded(6))]
    together = []
    add = ChunkNorms._add_by_rules

    def counted(self: ChunkNorms, sums: Norms, found: Sequence[object], count: int) -> None:
        together.append(len(found))
        add(self, sums, found, count)  # type: ignore[operator, arg-type]

    monkeypatch.setattr(ChunkNorms, "_add_by_rules", counted)
    with measuring(model, inputs.device):
        chunk = SampleNorms(model, trainable_parameters(model), inputs[:2]).chunk(inputs)
        together.clear()
        whole = chunk.summed(columns, 5)
        monkeypatch.setattr(norms_module, "_HELD", {"cpu": 1})
        alone = chunk.summed(columns, 5)
    assert together == [5, 1, 1, 1, 1, 1]
    for name, norms in whole.items():
        torch.testing.assert_close(alone[name], norms, rtol=1e-12, atol=1e-12)
