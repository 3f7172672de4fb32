"""The networks a trial can train, built from the shape of its data."""

from itertools import chain
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from orchestrator.study.model_config import CnnConfig, MlpConfig, ModuleConfig
from orchestrator.training.models.user_code import build_own, users_code
from orchestrator.training.streams import derived_seed

CHANNELS = 32
HIDDEN = 400

Shape = tuple[int, int, int]
"""Channels, height, width."""


class Cnn(nn.Sequential):
    """Two 3x3 convolutions of 32 channels, each with ReLU and 2x2 max pool, then two hidden layers of 400.

    994,154 parameters on 3x32x32 images and 10 classes: the paper's "about 1 million". Batch norm stands before every
    ReLU, dropout after those of the hidden layers. Neither draws anything: the weights are those they would be without.
    """

    def __init__(self, shape: Shape, classes: int, dropout: float = 0.0, batch_norm: bool = False) -> None:
        channels, height, width = shape
        if min(height, width) < 4:
            raise ValueError(f"model cnn pools twice and needs images of at least 4x4 pixels, not {width}x{height}")
        super().__init__(
            *_convolution(channels, batch_norm),
            *_convolution(CHANNELS, batch_norm),
            nn.Flatten(),
            *_hidden(CHANNELS * (height // 4) * (width // 4), HIDDEN, dropout, batch_norm),
            *_hidden(HIDDEN, HIDDEN, dropout, batch_norm),
            nn.Linear(HIDDEN, classes),
        )


class Mlp(nn.Sequential):
    """Hidden layers with ReLU on the flattened image; batch norm and dropout as in the cnn."""

    def __init__(
        self, shape: Shape, classes: int, hidden: tuple[int, ...], dropout: float = 0.0, batch_norm: bool = False
    ) -> None:
        sizes = zip((prod(shape), *hidden[:-1]), hidden, strict=True)
        layers = [_hidden(inputs, width, dropout, batch_norm) for inputs, width in sizes]
        super().__init__(nn.Flatten(), *chain.from_iterable(layers), nn.Linear(hidden[-1], classes))


def _convolution(channels: int, batch_norm: bool) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(CHANNELS)] if batch_norm else []
    return [nn.Conv2d(channels, CHANNELS, 3, padding=1), *norm, nn.ReLU(), nn.MaxPool2d(2)]


def _hidden(inputs: int, width: int, dropout: float, batch_norm: bool) -> list[nn.Module]:
    norm = [nn.BatchNorm1d(width)] if batch_norm else []
    drop = [nn.Dropout(dropout)] if dropout > 0 else []
    return [nn.Linear(inputs, width), *norm, nn.ReLU(), *drop]


def build_model(config: CnnConfig | MlpConfig | ModuleConfig, shape: Shape, classes: int, seed: int) -> nn.Module:
    """A model with weights drawn on the CPU from the seed's stream, the same on every device.

    Raises:
        ValueError: where a network of one's own cannot be found or called, or a model's output does not fit the
            classes.
        ModelCodeError: where the code of a network of one's own raises.
    """
    with torch.random.fork_rng(devices=[]):

        def seeded() -> None:
            torch.manual_seed(derived_seed(seed, "initial weights"))

        match config:
            case ModuleConfig():
                model = build_own(config, shape, classes, seeded)
            case CnnConfig():
                seeded()
                model = Cnn(shape, classes, config.dropout, config.batch_norm)
            case MlpConfig():
                seeded()
                model = Mlp(shape, classes, config.hidden, config.dropout, config.batch_norm)
        # Within the fork: the first pass draws the weights of lazy layers.
        check_outputs(model, config.name, shape, classes)
    return model


def check_outputs(model: nn.Module, name: str, shape: Shape, classes: int) -> None:
    """Raises ValueError where a model does not give one score a class for every image."""
    training = model.training
    with torch.no_grad(), users_code(name, f"called with 2 images of shape {shape}"):
        outputs = model.eval()(torch.zeros(2, *shape))
    model.train(training)
    given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if given != (2, classes):
        raise ValueError(
            f"model {name!r} gives {given} for 2 images of shape {shape}; the data has {classes} classes, "
            f"so (2, {classes}) is needed: set the size of the last layer"
        )


def check_batches(model: nn.Module, name: str, images: int, batch_size: int) -> None:
    """Raises ValueError where a model with batch norm would be trained on a single image: that has no variance.

    Args:
        model: any model; one without batch norm takes any batch.
        name: its name, for the message.
        images: how many there are to train on.
        batch_size: as configured; the last batch of an epoch has what is left over.
    """
    if (images % batch_size or batch_size) != 1 or not any(isinstance(part, _BatchNorm) for part in model.modules()):
        return
    where = "are batches of 1" if batch_size == 1 else f"leave a last batch of 1 of {images} training images"
    raise ValueError(
        f"batches of {batch_size} {where}, and model {name!r} has batch norm, which needs at least 2 images to "
        "normalise over: set another batch_size or data.train_subset"
    )


def evaluation_layout(model: nn.Module) -> torch.memory_format:
    """How images lie in memory when a model is evaluated.

    `channels_last` makes the cnn's forward pass three times as fast on a CPU. The mlp flattens, which would copy it
    back; a network of one's own may hold a `view`, which takes the usual layout only.
    """
    return torch.channels_last if isinstance(model, Cnn) else torch.contiguous_format
