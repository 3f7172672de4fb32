"""Random flips and crops of the training images, drawn for every epoch and applied on the trial's device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from orchestrator.study.parts.data_config import AugmentationConfig
from orchestrator.training.devices import to_device
from orchestrator.training.streams import stream


@dataclass(frozen=True)
class EpochAugmentation:
    """The flips and crops of all training images in one epoch."""

    flip: Tensor
    """bool [n]: whether the image is mirrored left to right, after the crop."""
    offset: Tensor
    """int64 [n, 2]: row and column of the crop's first pixel in the padded image."""
    padding: int
    """Width of the black border, in pixels."""

    def apply(self, pixels: Tensor, index: Tensor) -> Tensor:
        """Returns the augmented images of a batch.

        Args:
            pixels: uint8 [batch, channels, height, width], not changed.
            index: int64 [batch], the positions of these images among the training images.
        """
        batch, channels, height, width = pixels.shape
        flip, offset = self.flip[index, None], self.offset[index]
        rows = torch.arange(height, device=pixels.device) + offset[:, :1]
        columns = torch.arange(width, device=pixels.device)
        columns = torch.where(flip, columns.flip(0), columns) + offset[:, 1:]
        padded = pad(pixels, (self.padding,) * 4)
        # The position of every pixel in the flattened padded image: one gather for the whole batch.
        positions = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
        positions = positions.flatten(1)[:, None].expand(batch, channels, height * width)
        return padded.flatten(2).gather(2, positions).view_as(pixels)


def draw_augmentation(
    config: AugmentationConfig, images: int, seed: int, epoch: int, device: torch.device
) -> EpochAugmentation | None:
    """Draws the flips and crops of one epoch on the CPU, seeded by the epoch. Returns None if both are turned off.

    Flips and crops are always both drawn, so turning one off does not change the other.
    """
    if not config.flip and config.crop == 0:
        return None
    generator = stream(seed, "augmentation", epoch)
    flip = torch.randint(2, (images,), generator=generator).bool() & config.flip
    offset = torch.randint(2 * config.crop + 1, (images, 2), generator=generator)
    return EpochAugmentation(to_device(flip, device), to_device(offset, device), config.crop)


def check_augmentation(config: AugmentationConfig, shape: tuple[int, ...]) -> None:
    """Raises ValueError if the inputs are not images, or a crop could contain only border pixels."""
    if not config.flip and config.crop == 0:
        return
    if len(shape) != 3:
        raise ValueError(f"augmentation needs images, but inputs have the shape {shape}: leave augmentation out")
    _, height, width = shape
    if config.crop >= min(height, width):
        raise ValueError(
            f"augmentation.crop is {config.crop}, expected less than the size of the images, {width}x{height}: a crop "
            "could contain only border pixels; an eighth of the size is usual"
        )
