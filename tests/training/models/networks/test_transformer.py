"""Transformers over tokens."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from orchestrator.training.models.signature import Signature
from tests.training.models.built import TOKENS, built, parameters
from tests.training.models.networks.test_vit import block_parameters

SMALL = {"width": 8, "heads": 2, "depth": 2}


def test_parameters() -> None:
    body = 6 * 8 + 2 * block_parameters(8) + 2 * 8
    assert parameters(built(TOKENS, "transformer", **SMALL)) == 7 * 8 + body + 8 * 4
    tied = Signature((6,), outputs=7, vocabulary=7)
    assert parameters(built(tied, "transformer", tied=True, **SMALL)) == 7 * 8 + body


@pytest.mark.parametrize("name", ["transformer", "lstm", "gru"])
@pytest.mark.parametrize("training", [True, False])
def test_no_output_depends_on_later_tokens(name: str, training: bool) -> None:
    model = built(TOKENS, name, **(SMALL if name == "transformer" else {"width": 8})).train(training)
    first = torch.randint(7, (3, 6), generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[:, 4] = (second[:, 4] + 1) % 7
    with torch.no_grad():
        changed = ~torch.isclose(model(first), model(second), rtol=0, atol=1e-6).all(dim=2)
    assert changed[:, 4:].all()
    assert not changed[:, :4].any()


def test_tied_weights_are_one_parameter() -> None:
    model = built(Signature((6,), outputs=7, vocabulary=7), "transformer", tied=True, **SMALL)
    assert model.get_parameter("head.weight") is model.get_parameter("tokens.weight")


def test_tied_weights_need_equal_vocabularies() -> None:
    message = r"transformer has tied: true, which needs equal .* the data has 7 and 4 tokens: set tied to false"
    with pytest.raises(ValueError, match=message):
        built(TOKENS, "transformer", tied=True, **SMALL)


def test_tied_weights_need_tokens_as_targets() -> None:
    with pytest.raises(ValueError, match="needs tokens as targets, but the data has a target per sequence: set tied"):
        built(Signature((6,), 7, 7, per_sequence=True), "transformer", tied=True, **SMALL)


@pytest.mark.parametrize("name", ["transformer", "lstm", "gru"])
def test_outputs_per_sequence_are_those_of_the_last_position(name: str) -> None:
    settings = SMALL if name == "transformer" else {"width": 8}
    everywhere = built(TOKENS, name, **settings).eval()
    last = built(replace(TOKENS, per_sequence=True), name, **settings).eval()
    tokens = torch.randint(7, (3, 6), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(last(tokens), everywhere(tokens)[:, -1])


def test_embeddings_have_the_documented_scale() -> None:
    model = built(Signature((500,), outputs=9, vocabulary=500), "transformer")
    for name in ("tokens", "blocks.positions"):
        assert model.get_parameter(f"{name}.weight").std().item() == pytest.approx(0.02, rel=0.05)


def test_the_first_loss_is_that_of_a_uniform_guess() -> None:
    model = built(Signature((6,), outputs=50, vocabulary=50), "transformer", tied=True)
    tokens = torch.randint(50, (20, 6), generator=torch.Generator().manual_seed(0))
    outputs: Tensor = model(tokens)
    loss = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(math.log(50), rel=0.1)
