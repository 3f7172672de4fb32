"""The networks a trial can train, built from the shape of its data."""

from itertools import chain
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from orchestrator.study.model_config import CnnConfig, MlpConfig, ModuleConfig
from orchestrator.training.models.user_code import NETWORK, build_user_model
from orchestrator.training.streams import derived_seed

CHANNELS = 32
HIDDEN = 400

Shape = tuple[int, int, int]
"""Channels, height, width."""


class Cnn(nn.Sequential):
    """Two 3x3 convolutions of 32 channels, each with ReLU and 2x2 max pool, then two hidden layers of 400 units.

    994,154 parameters for 3x32x32 images and 10 classes: the paper's "about 1 million". Batch norm comes before every
    ReLU, dropout after the ReLU of the hidden layers. Neither changes the initial weights.
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
    """Hidden layers with ReLU on the flattened image. Batch norm and dropout are placed as in the cnn."""

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
    """Returns a model with initial weights drawn on the CPU from the seed, so they are the same for every device.

    Raises:
        ValueError: if the user's own network cannot be imported or called, or its output has the wrong shape.
        UserCodeError: if the user's own network raises.
    """

    def seed_weights() -> None:
        torch.manual_seed(derived_seed(seed, "initial weights"))

    with torch.random.fork_rng(devices=[]):
        match config:
            case ModuleConfig():
                model = build_user_model(config, shape, classes, seed_weights)
            case CnnConfig():
                seed_weights()
                model = Cnn(shape, classes, config.dropout, config.batch_norm)
            case MlpConfig():
                seed_weights()
                model = Mlp(shape, classes, config.hidden, config.dropout, config.batch_norm)
        # Must be inside `fork_rng`, since lazy layers draw their weights in the first forward pass.
        check_outputs(model, config.name, shape, classes)
    return model


def check_outputs(model: nn.Module, name: str, shape: Shape, classes: int) -> None:
    """Raises ValueError if a model does not return one score per class for every image."""
    training = model.training
    with torch.no_grad(), NETWORK.errors(name, f"called with 2 images of shape {shape}"):
        outputs = model.eval()(torch.zeros(2, *shape))
    model.train(training)
    given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if given != (2, classes):
        raise ValueError(
            f"model {name!r} gives {given} for 2 images of shape {shape}; the data has {classes} classes, "
            f"so (2, {classes}) is expected: set the size of the last layer"
        )


def check_batches(model: nn.Module, name: str, images: int, batch_size: int) -> None:
    """Raises ValueError if a model has batch norm and would train on a batch of one image.

    Args:
        model: any model. Without batch norm every batch size is accepted.
        name: name of the model, for the error message.
        images: number of training images.
        batch_size: as configured. The last batch of an epoch may be smaller.
    """
    if (images % batch_size or batch_size) != 1 or not any(isinstance(layer, _BatchNorm) for layer in model.modules()):
        return
    problem = "have a single image each" if batch_size == 1 else f"leave a last batch of 1 of {images} training images"
    raise ValueError(
        f"batches of {batch_size} {problem}, and model {name!r} has batch norm, which needs at least 2 images to "
        "normalise over: set another batch_size or data.train_subset"
    )


def evaluation_memory_format(model: nn.Module) -> torch.memory_format:
    """Returns the memory format of the images in the evaluation of a model.

    With `channels_last` the cnn's forward pass is three times as fast on a CPU. Other models get contiguous images. The
    mlp would only convert them back, and a user's own network may call `view`, which fails on `channels_last`.
    """
    return torch.channels_last if isinstance(model, Cnn) else torch.contiguous_format
