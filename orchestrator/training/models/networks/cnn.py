"""The paper's convolutional network."""

from torch import nn

from orchestrator.study.parts.model_config import CnnConfig
from orchestrator.training.models.networks.layers import activation, hidden_layer, initialise
from orchestrator.training.models.signature import Signature, image_shape

CHANNELS = 32
HIDDEN = 400


class Cnn(nn.Sequential):
    """Two 3x3 convolutions of 32 channels, each with activation and 2x2 max pool, then two hidden layers of 400 units.

    994,154 parameters for 3x32x32 images and 10 classes: the paper's "about 1 million". Batch norm comes before every
    activation, dropout after the activation of the hidden layers. Neither changes the initial weights.
    """

    def __init__(self, config: CnnConfig, signature: Signature) -> None:
        channels, height, width = image_shape(signature, config.name)
        if min(height, width) < 4:
            raise ValueError(f"model cnn pools twice and needs images of at least 4x4 pixels, not {width}x{height}")
        super().__init__(
            *_convolution(channels, config),
            *_convolution(CHANNELS, config),
            nn.Flatten(),
            *hidden_layer(CHANNELS * (height // 4) * (width // 4), HIDDEN, config),
            *hidden_layer(HIDDEN, HIDDEN, config),
            nn.Linear(HIDDEN, signature.outputs),
        )
        initialise(self, config)


def _convolution(channels: int, config: CnnConfig) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(CHANNELS)] if config.batch_norm else []
    return [nn.Conv2d(channels, CHANNELS, 3, padding=1), *norm, activation(config.activation), nn.MaxPool2d(2)]
