"""Changes of host random generators and module attributes are detected and undone."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.training.cuda.training_state import HostState
from tests.training.uncapturable_nets import CountingCalls, Drawing, Remembering, Waiting

IMAGES = torch.ones(4, 1, 8, 8)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Waiting, ""),
        (Drawing, "the model draws random numbers on the CPU"),
        (CountingCalls, "the model changes an attribute of CountingCalls"),
        (Remembering, "the model changes an attribute of Remembering"),
    ],
)
def test_changes_by_a_forward_pass_are_detected_and_undone(kind: type[nn.Module], expected: str) -> None:
    network = kind(10)
    network.eval()(IMAGES)
    network.train()
    network[3].p = 0.0  # type: ignore[index]  # on a CPU, dropout would draw random numbers there
    before, drawn = dict(vars(network)), torch.get_rng_state()
    state = HostState(network)
    assert state.changes() == ""
    network(IMAGES)
    assert state.changes() == expected
    state.restore()
    assert state.changes() == ""
    assert vars(network) == before
    assert torch.equal(torch.get_rng_state(), drawn)


def test_random_draws_of_python_and_numpy_are_detected() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    for draw in (random.random, np.random.rand):
        state = HostState(network)
        first = draw()
        assert state.changes() == "the model draws random numbers on the CPU"
        state.restore()
        assert draw() == first


def test_changed_module_is_named() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    state = HostState(network)
    network[1].calls = [1]
    assert state.changes() == "the model changes an attribute of ReLU '1'"
    state.restore()
    assert not hasattr(network[1], "calls")
