"""Which parameters a rule covers is read off the graph; rules, vectorised and single gradients agree with autograd."""

import pytest
import torch
from torch import Tensor, nn

from estimators import layer_norms
from estimators.measuring import measuring
from estimators.sample_norms import SampleNorms, one_by_one, vectorised
from estimators.sample_products import ProductNorms, cheapest
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
    monkeypatch.setattr(layer_norms, "squared_norms", lambda values: 1.01 * norms(values))
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
    monkeypatch.setattr("estimators.sample_norms._WORKSPACE", 1)
    for name, norms in vectorised(model, trainable(model), inputs, column).items():
        torch.testing.assert_close(norms, whole[name])


@pytest.mark.parametrize("shape", [(3, 70, 4), (40, 70, 4), (40, 5, 4), (300, 80, 400), (5, 5, 5)])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_products_in_every_arrangement(shape: tuple[int, int, int], count: int) -> None:
    positions, inputs, outputs = shape
    rows = torch.randn(5, positions, inputs, dtype=torch.float64, generator=seeded(0))
    products = ProductNorms(lambda samples: rows[samples], inputs, columns=count)
    expected = torch.zeros(5, dtype=torch.float64)
    for index in range(count):
        delta = torch.randn(5, outputs, positions, dtype=torch.float64, generator=seeded(index))
        sign = torch.tensor([1.0, -1.0, 1.0, 0.0, 2.0], dtype=torch.float64)
        products.add(delta, sign)
        expected += sign * (delta @ rows).square().sum(dim=(1, 2))
    torch.testing.assert_close(products.take(), expected, rtol=1e-11, atol=1e-9)
    assert products.take() == 0.0


def test_the_arrangement_is_a_function_of_shapes() -> None:
    assert cheapest(positions=1024, inputs=27, outputs=32, columns=9) == "product"
    assert cheapest(positions=4, inputs=4608, outputs=512, columns=1) == "gram"
