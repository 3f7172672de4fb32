"""The networks a trial can train, built from the shape of its data."""

import torch
from torch import Tensor, nn

from orchestrator.study.model_config import CnnConfig
from orchestrator.training.streams import derived_seed

CHANNELS = 32
HIDDEN = 400


class Cnn(nn.Sequential):
    """Two 3x3 convolutions of 32 channels, each with ReLU and 2x2 max pool, then two hidden layers of 400.

    994,154 parameters on 3x32x32 images and 10 classes: the paper's "about 1 million".
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        channels, height, width = shape
        if min(height, width) < 4:
            raise ValueError(f"model cnn pools twice and needs images of at least 4x4 pixels, not {width}x{height}")
        super().__init__(
            nn.Conv2d(channels, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(CHANNELS * (height // 4) * (width // 4), HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, classes),
        )


def build_model(config: CnnConfig, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A model with weights drawn on the CPU from the seed's stream, the same on every device.

    Raises:
        ValueError: where its output does not fit the classes.
    """
    assert config.name == "cnn"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initial weights"))
        model = Cnn(shape, classes)
    check_outputs(model, config.name, shape, classes)
    return model


def check_outputs(model: nn.Module, name: str, shape: tuple[int, int, int], classes: int) -> None:
    """Raises ValueError where a model does not give one score a class for every image."""
    training = model.training
    with torch.no_grad():
        outputs = model.eval()(torch.zeros(2, *shape))
    model.train(training)
    given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if given != (2, classes):
        raise ValueError(
            f"model {name!r} gives {given} for 2 images of shape {shape}; the data has {classes} classes, "
            f"so (2, {classes}) is needed: set the size of the last layer"
        )
