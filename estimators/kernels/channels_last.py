"""Images in torch's ``channels_last`` memory format: the channels of a pixel are adjacent in memory."""

import torch
from torch import Tensor


def to_channels_last(images: Tensor) -> Tensor:
    """Converts images [n, channels, height, width] to channels_last. They are copied only if necessary."""
    return images.contiguous(memory_format=torch.channels_last)


def is_channels_last(images: Tensor) -> bool:
    """Whether the images are in channels_last format only. With a single channel, both formats coincide."""
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
