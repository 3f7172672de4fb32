"""The states of the generators of NumPy and Python."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from orchestrator.training.user_code.global_generators import global_generators, seeded_generators


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_a_draw_changes_the_states(draw: Callable[[], float]) -> None:
    before = global_generators()
    assert global_generators() == before
    draw()
    assert global_generators() != before


def test_a_draw_with_torch_changes_no_state() -> None:
    before = global_generators()
    torch.rand(1)
    assert global_generators() == before


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_seeded_generators_draw_the_same_and_are_restored(draw: Callable[[], float]) -> None:
    before = global_generators()
    drawn = []
    for seed in (2**62, 2**62, 7):
        with seeded_generators(seed):
            drawn.append(draw())
    assert drawn[0] == drawn[1] != drawn[2]
    assert global_generators() == before
