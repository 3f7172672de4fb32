"""Tests which calls use a parameter, on the graphs of many networks."""

import pytest
import torch

from estimators.per_sample.norms import SampleNorms, one_by_one
from estimators.problem.checks import trainable_parameters
from estimators.problem.isolation import measuring
from tests.estimators.models import hooked_backwards
from tests.estimators.networks import NETWORKS, Network

all_networks = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)


@all_networks
def test_only_parameters_used_outside_recorded_calls_need_per_sample_gradients(network: Network) -> None:
    model, inputs = network.model(), network.inputs(4)
    with measuring(model, inputs.device):
        chunk = SampleNorms(model, trainable_parameters(model), inputs[:2]).chunk(inputs)
    assert set(chunk.without_rule) == set(network.without_rule)


def test_backward_hooks_apply_as_in_autograd() -> None:
    model = hooked_backwards().double()
    inputs = NETWORKS[7].inputs(4)
    column = torch.ones(4, 3, dtype=torch.float64)
    with measuring(model, inputs.device):
        found = SampleNorms(model, trainable_parameters(model), inputs[:2]).chunk(inputs).summed([(column, 1.0)], 1)
        expected = one_by_one(model, trainable_parameters(model), inputs, column)
    for name, norms in expected.items():
        torch.testing.assert_close(found[name], norms, rtol=1e-10, atol=1e-12)
