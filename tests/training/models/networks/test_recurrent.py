"""Recurrent networks."""

import pytest
import torch

from tests.training.models.built import TOKENS, built, parameters


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3)])
@pytest.mark.parametrize("depth", [1, 2])
def test_parameters(name: str, gates: int, depth: int) -> None:
    layer = gates * (2 * 8 * 8 + 2 * 8)
    expected = 7 * 8 + depth * layer + 8 * 4 + 4
    assert parameters(built(TOKENS, name, width=8, depth=depth)) == expected


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_samples_do_not_influence_each_other(name: str) -> None:
    model = built(TOKENS, name, width=8)
    tokens = torch.randint(7, (3, 6), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(tokens), torch.cat([model(sample) for sample in tokens.split(1)]))
