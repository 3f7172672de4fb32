"""Residual networks for small images."""

import math

from torch import Tensor, nn
from torch.nn.functional import pad

from orchestrator.study.parts.model_config import ResnetConfig
from orchestrator.training.models.signature import Signature, image_shape


class Resnet(nn.Module):
    """The ResNet for CIFAR-10 of He et al. (2016, section 4.2): a convolution, three stages of blocks, mean pooling.

    A stage has (depth - 2) / 6 blocks of two 3x3 convolutions. The stages have `width`, 2 `width` and 4 `width`
    channels; the first block of the second and third halves the image. Shortcuts have no parameters. Depth 20 and width
    16 have 269,722 parameters for 3 channels and 10 classes.
    """

    def __init__(self, config: ResnetConfig, signature: Signature) -> None:
        super().__init__()
        channels, _, _ = image_shape(signature, config.name)
        widths = [config.width, 2 * config.width, 4 * config.width]
        self.stem = nn.Sequential(*_convolution(channels, config.width, 1, config), nn.ReLU())
        self.stages = nn.Sequential(
            _stage(config.width, widths[0], 1, config),
            _stage(widths[0], widths[1], 2, config),
            _stage(widths[1], widths[2], 2, config),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[2], signature.outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the outputs [n, outputs] of images [n, channels, height, width]."""
        outputs: Tensor = self.head(self.pool(self.stages(self.stem(images))))
        return outputs


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is strided and padded with zero channels if the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int, config: ResnetConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, width, stride, config), nn.ReLU(), *_convolution(width, width, 1, config)
        )
        self.relu = nn.ReLU()
        self._stride, self._added = stride, width - inputs

    def forward(self, images: Tensor) -> Tensor:
        shortcut = images
        if self._stride > 1:
            shortcut = shortcut[:, :, :: self._stride, :: self._stride]
        if self._added:
            shortcut = pad(shortcut, (0, 0, 0, 0, 0, self._added))
        outputs: Tensor = self.relu(self.body(images) + shortcut)
        return outputs


def _stage(inputs: int, width: int, stride: int, config: ResnetConfig) -> nn.Sequential:
    later = (_Block(width, width, 1, config) for _ in range((config.depth - 2) // 6 - 1))
    return nn.Sequential(_Block(inputs, width, stride, config), *later)


def _convolution(inputs: int, width: int, stride: int, config: ResnetConfig) -> list[nn.Module]:
    """A 3x3 convolution without bias, and its norm. Group norm has groups of gcd(8, channels) channels."""
    norm = nn.BatchNorm2d(width) if config.norm == "batch" else nn.GroupNorm(width // math.gcd(8, width), width)
    return [nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False), norm]
