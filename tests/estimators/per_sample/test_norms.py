"""Which parameters a rule covers is read off the graph; rules, vectorised and single gradients agree with autograd."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from estimators.kernels import blocks
from estimators.kernels.blocks import Scratch
from estimators.per_sample import layer_rules as layer_norms
from estimators.per_sample import norms as sample_norms
from estimators.per_sample.norms import ChunkNorms, Norms, SampleNorms, one_by_one, vectorised
from estimators.per_sample.products import InputMatrices, ProductNorms, cheapest, norms_at_positions
from estimators.problem.isolation import measuring
from tests.estimators.cases import seeded
from tests.estimators.models import hooked_backwards
from tests.estimators.networks import NETWORKS, Network

all_networks = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)


def trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@all_networks
def test_rules_cover_what_only_known_calls_use(network: Network) -> None:
    model, inputs = network.model(), network.inputs(4)
    with measuring(model, inputs.device):
        chunk = SampleNorms(model, trainable(model), inputs[:2]).chunk(inputs)
    assert set(chunk.without_rule) == set(network.without_rule)


@all_networks
def test_norms_of_several_columns_are_those_of_autograd(network: Network) -> None:
    """Also with signs a sample, and for as many samples as the sequences have positions."""
    model, inputs = network.model(), network.inputs(4)
    parameters = trainable(model)
    columns = torch.randn(3, 4, 3, dtype=torch.float64, generator=seeded(6))
    signs = [1.0, -1.0, torch.tensor([1.0, -1.0, 0.0, 1.0], dtype=torch.float64)]
    with measuring(model, inputs.device):
        chunk = SampleNorms(model, parameters, inputs[:2]).chunk(inputs)
        for count in (1, 3, 100):
            found = chunk.summed(zip(columns, signs, strict=True), count)
            for name in parameters:
                expected = sum(
                    sign * one_by_one(model, parameters, inputs, column)[name]
                    for column, sign in zip(columns, signs, strict=True)
                )
                torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-12)


def test_a_rule_that_is_wrong_is_found_out_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with autograd does not rest on what the rules suppose."""
    network = NETWORKS[0]
    model, inputs = network.model(), network.inputs(4)
    norms = layer_norms.squared_norms
    monkeypatch.setattr(layer_norms, "squared_norms", lambda values, dims=1: 1.01 * norms(values, dims))
    with measuring(model, inputs.device):
        plan = SampleNorms(model, trainable(model), inputs[:2])
    assert plan.one_by_one == {"0.bias", "7.weight", "7.bias"}


def test_backward_hooks_count_as_autograd_counts_them() -> None:
    model = hooked_backwards().double()
    inputs = NETWORKS[7].inputs(4)
    column = torch.ones(4, 3, dtype=torch.float64)
    with measuring(model, inputs.device):
        found = SampleNorms(model, trainable(model), inputs[:2]).chunk(inputs).summed([(column, 1.0)], 1)
        expected = one_by_one(model, trainable(model), inputs, column)
    for name, norms in expected.items():
        torch.testing.assert_close(found[name], norms, rtol=1e-10, atol=1e-12)


def test_attention_is_vectorised_and_data_that_decides_is_not() -> None:
    network = next(network for network in NETWORKS if network.name == "attention")
    model, inputs = network.model(), network.inputs(4)
    with measuring(model, inputs.device):
        plan = SampleNorms(model, trainable(model), inputs[:2])
        assert plan.vectorised == set(network.without_rule) and not plan.one_by_one

    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

        def forward(self, inputs: Tensor) -> Tensor:
            rows = [self.scale * row if float(row.sum()) > 0 else row - self.shift for row in inputs[:, 0]]
            return torch.stack(rows)

    deciding, inputs = Decides().double(), NETWORKS[7].inputs(6)
    column = torch.ones(6, 3, dtype=torch.float64)
    with measuring(deciding, inputs.device):
        plan = SampleNorms(deciding, trainable(deciding), inputs[:2])
        assert not plan.vectorised
        found = plan.chunk(inputs).summed([(column, 1.0)], 1)
    positive = inputs[:, 0].sum(dim=1) > 0
    assert 0 < int(positive.sum()) < 6
    torch.testing.assert_close(found["scale"], inputs[:, 0].square().sum(dim=1) * positive)
    torch.testing.assert_close(found["shift"], 3.0 * (~positive).double())


def test_vectorised_gradients_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS[0]
    model, inputs = network.model(), network.inputs(5)
    column = torch.ones(5, 3, dtype=torch.float64)
    whole = vectorised(model, trainable(model), inputs, column)
    monkeypatch.setattr("estimators.per_sample.norms._WORKSPACE", 1)
    for name, norms in vectorised(model, trainable(model), inputs, column).items():
        torch.testing.assert_close(norms, whole[name])


@pytest.mark.parametrize("shape", [(3, 70, 4), (40, 70, 4), (40, 5, 4), (300, 80, 400), (5, 5, 5)])
@pytest.mark.parametrize("count", [1, 4, 9])
@pytest.mark.parametrize("groups", [1, 2])
def test_products_in_every_arrangement(
    shape: tuple[int, int, int], count: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in blocks of few samples, and when columns come in several parts."""
    positions, inputs, outputs = shape
    rows = torch.randn(5 * groups, positions, inputs, dtype=torch.float64, generator=seeded(0))
    deltas = torch.randn(5 * groups, count, outputs, positions, dtype=torch.float64, generator=seeded(1))
    expected = (deltas @ rows.unsqueeze(1)).square().sum(dim=(2, 3)).view(5, groups, count).sum(dim=1)

    def some(matrices: Tensor, part: slice) -> Tensor:
        return matrices[part.start * groups : part.stop * groups]

    for numbers in (2**20, 2 * positions * max(inputs, outputs) * count):
        monkeypatch.setattr(blocks, "_BYTES", {"cpu": 8 * numbers})
        products = ProductNorms(InputMatrices(partial(some, rows), inputs, groups), count)
        for first, last in [(0, count), (0, 1), (1, count)]:
            found = products.of(partial(some, deltas[:, first:last]), 5, Scratch()) if last > first else expected[:, :0]
            torch.testing.assert_close(found, expected[:, first:last], rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2])
def test_products_with_few_entries_are_those_of_the_whole_matrix(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries may lie in one place, as those of windows that overlap."""
    monkeypatch.setattr(blocks, "_BYTES", {"cpu": 8 * 4 * 6 * 7 * 2})
    rows = torch.randn(5 * groups, 20, 7, dtype=torch.float64, generator=seeded(0))
    entries = torch.randn(5, 4, 3, 6, dtype=torch.float64, generator=seeded(1))
    places = torch.randint(0, 20, (5, 4, 6), generator=seeded(2)).int()
    whole = torch.zeros(5, 4, 3, 20, dtype=torch.float64)
    whole.scatter_add_(3, places.long().unsqueeze(2).expand(entries.shape), entries)
    by_group = whole.view(5, groups, 4 // groups, 3, 20) @ rows.view(5, groups, 1, 20, 7)
    matrices = InputMatrices(lambda part: rows[part.start * groups : part.stop * groups], 7, groups)
    found = norms_at_positions(matrices, entries.__getitem__, places, Scratch())
    torch.testing.assert_close(found, by_group.square().sum(dim=(1, 2, 4)), rtol=1e-12, atol=1e-12)


def test_what_several_columns_leave_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms are taken as soon as so many bytes wait for theirs: the sums are the same."""
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
        chunk = SampleNorms(model, trainable(model), inputs[:2]).chunk(inputs)
        together.clear()
        whole = chunk.summed(columns, 5)
        monkeypatch.setattr(sample_norms, "_HELD", {"cpu": 1})
        alone = chunk.summed(columns, 5)
    assert together == [5, 1, 1, 1, 1, 1]
    for name, norms in whole.items():
        torch.testing.assert_close(alone[name], norms, rtol=1e-12, atol=1e-12)


def test_the_arrangement_is_a_function_of_shapes() -> None:
    assert cheapest(positions=1024, inputs=27, outputs=32, columns=9) == "product"
    assert cheapest(positions=4, inputs=4608, outputs=512, columns=1) == "gram"
