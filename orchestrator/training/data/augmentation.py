"""Random changes of the training images, drawn anew in every epoch, made on the trial's device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from orchestrator.study.data_config import AugmentationConfig
from orchestrator.training.devices import to_device
from orchestrator.training.streams import stream


@dataclass(frozen=True)
class Changes:
    """What is done to each training image in one epoch."""

    flip: Tensor
    """bool [n]: is the image mirrored left to right, after it was cut out?"""
    offset: Tensor
    """int64 [n, 2]: where the cut begins in the bordered image, row and column."""
    border: int
    """Width of the black border, in pixels."""

    def of(self, pixels: Tensor, index: Tensor) -> Tensor:
        """The images of a batch, changed.

        Args:
            pixels: uint8 [batch, channels, height, width], untouched.
            index: int64 [batch]: which training images these are.
        """
        batch, channels, height, width = pixels.shape
        flip, offset = self.flip[index, None], self.offset[index]
        rows = torch.arange(height, device=pixels.device) + offset[:, :1]
        columns = torch.arange(width, device=pixels.device)
        columns = torch.where(flip, columns.flip(0), columns) + offset[:, 1:]
        bordered = pad(pixels, (self.border,) * 4)
        # The place of every pixel in the flattened bordered image: one gather for the whole batch.
        places = rows[:, :, None] * bordered.shape[3] + columns[:, None, :]
        places = places.flatten(1)[:, None].expand(batch, channels, height * width)
        return bordered.flatten(2).gather(2, places).view_as(pixels)


def draw_changes(
    config: AugmentationConfig, images: int, seed: int, epoch: int, device: torch.device
) -> Changes | None:
    """The changes of one epoch, drawn on the CPU from the epoch's own stream; None where images stay as they are.

    Flips and offsets are drawn whether used or not, so turning one off leaves the other as it was.
    """
    if not config.flip and config.crop == 0:
        return None
    generator = stream(seed, "augmentation", epoch)
    flip = torch.randint(2, (images,), generator=generator).bool() & config.flip
    offset = torch.randint(2 * config.crop + 1, (images, 2), generator=generator)
    return Changes(to_device(flip, device), to_device(offset, device), config.crop)


def check_augmentation(config: AugmentationConfig, shape: tuple[int, int, int]) -> None:
    """Raises ValueError where a cut could miss an image of this shape altogether."""
    _, height, width = shape
    if config.crop >= min(height, width):
        raise ValueError(
            f"augmentation.crop is {config.crop}, expected less than the size of the images, {width}x{height}: a cut "
            "could hold nothing but the border; an eighth of the size is usual"
        )
