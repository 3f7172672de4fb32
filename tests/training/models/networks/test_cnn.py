"""The paper's network."""

import pytest
import torch
from torch import nn

from orchestrator.training.models.signature import Signature
from orchestrator.training.streams import derived_seed
from tests.training.models.built import IMAGES, built, parameters

COLOUR = Signature((3, 32, 32), 10)


def test_the_papers_network_has_about_a_million_parameters() -> None:
    assert parameters(built(COLOUR, "cnn")) == 994_154


def test_initial_weights_never_change() -> None:
    # A different order of layers or random draws would make stored trials irreproducible.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(3, "initial weights"))
        expected = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(2048, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)),
        ).state_dict()
    state = built(COLOUR, "cnn", seed=3).state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (3, 33, 47), (1, 4, 4)])
@pytest.mark.parametrize("name", ["cnn", "mlp"])
@pytest.mark.parametrize("regularised", [False, True])
def test_models_are_built_from_the_shape_of_the_data(name: str, shape: tuple[int, int, int], regularised: bool) -> None:
    model = built(Signature(shape, 7), name, dropout=0.2 if regularised else 0.0, batch_norm=regularised)
    assert model(torch.zeros(5, *shape)).shape == (5, 7)


def test_order_of_layers() -> None:
    model = built(IMAGES, "cnn", dropout=0.2, batch_norm=True, activation="tanh")
    hidden = ["Linear", "BatchNorm1d", "Tanh", "Dropout"]
    convolution = ["Conv2d", "BatchNorm2d", "Tanh", "MaxPool2d"]
    assert [type(layer).__name__ for layer in model] == [*convolution * 2, "Flatten", *hidden * 2, "Linear"]


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 4x4 pixels, not 3x8"):
        built(Signature((1, 8, 3), 10), "cnn")
