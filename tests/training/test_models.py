"""The networks, and that their output fits the classes."""

import pytest
import torch
from torch import nn

from orchestrator.study.model_config import CnnConfig
from orchestrator.training.models import Cnn, build_model, check_outputs

CNN = CnnConfig(name="cnn")


def test_the_papers_network_has_about_a_million_parameters() -> None:
    model = build_model(CNN, (3, 32, 32), 10, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 994_154


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (3, 33, 47), (1, 4, 4)])
def test_it_is_built_from_the_shape_of_the_data(shape: tuple[int, int, int]) -> None:
    model = build_model(CNN, shape, 7, seed=0)
    assert model(torch.zeros(5, *shape)).shape == (5, 7)


def test_images_too_small_for_it_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 4x4 pixels, not 3x8"):
        build_model(CNN, (1, 8, 3), 10, seed=0)


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build_model(CNN, (1, 8, 8), 10, seed=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = (build_model(CNN, (1, 8, 8), 10, seed=seed) for seed in (5, 6))
    assert torch.equal(before, torch.get_rng_state())
    for ours, theirs, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, different)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Cnn((1, 8, 8), 7), r"\(2, 7\)"),
        (nn.Flatten(0), r"\(128,\)"),
        (nn.LSTM(8, 10), "tuple"),
    ],
)
def test_a_model_whose_output_does_not_fit_the_classes_is_refused(model: nn.Module, given: str) -> None:
    model.train()
    shape = (8, 8) if isinstance(model, nn.LSTM) else (1, 8, 8)
    with pytest.raises(
        ValueError, match=rf"'mine' gives {given} for 2 images .* the data has 10 classes, so \(2, 10\)"
    ):
        check_outputs(model, "mine", shape, 10)  # type: ignore[arg-type]
    assert model.training
