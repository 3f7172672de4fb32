"""Norms by the rules of layers, against autograd on many networks."""

import pytest
import torch

from estimators.per_sample import layer_rules
from estimators.per_sample.norms import SampleNorms, one_by_one
from estimators.problem.checks import trainable_parameters
from estimators.problem.isolation import measuring
from tests.estimators.cases import seeded
from tests.estimators.networks import NETWORKS, Network

all_networks = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)


@all_networks
def test_norms_of_several_columns_equal_autograd(network: Network) -> None:
    """Includes signs per sample, and as many samples as there are positions in a sequence."""
    model, inputs = network.model(), network.inputs(4)
    parameters = trainable_parameters(model)
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


def test_a_wrong_rule_is_detected_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with autograd does not rely on the rules."""
    network = NETWORKS[0]
    model, inputs = network.model(), network.inputs(4)
    norms = layer_rules.squared_norms
    monkeypatch.setattr(layer_rules, "squared_norms", lambda values, dims=1: 1.01 * norms(values, dims))
    with measuring(model, inputs.device):
        plan = SampleNorms(model, trainable_parameters(model), inputs[:2])
    assert plan.one_by_one == {"0.bias", "7.weight", "7.bias"}
