"""Networks over tokens learn a task that needs an earlier token."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.training.models.signature import Signature
from tests.training.models.built import built

SIGNATURE = Signature((8,), outputs=5, vocabulary=5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("transformer", {"width": 16, "heads": 2, "depth": 1}),
        ("transformer", {"width": 16, "heads": 2, "depth": 1, "tied": True}),
        ("lstm", {"width": 16, "depth": 1}),
        ("gru", {"width": 16, "depth": 1}),
    ],
)
def test_the_previous_token_is_learned(name: str, settings: dict[str, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    model = built(SIGNATURE, name, **settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        tokens = torch.randint(5, (32, 8), generator=generator)
        loss = cross_entropy(model(tokens)[:, 1:].mT, tokens[:, :-1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # At the start it is log 5 = 1.6.
    assert loss.item() < 0.1
