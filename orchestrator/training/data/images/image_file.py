"""Decodes image files with Pillow."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from orchestrator.training.data.samples import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_GREY = frozenset({"1", "L"})
_COLOUR = frozenset({"LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_ORIENTATION = 0x0112
"""EXIF tag for the rotation and reflection of the stored pixels on display."""


def is_grey(path: Path) -> bool:
    """Returns whether the mode of an image is greyscale. Reads only its header.

    Raises:
        DataError: if the image cannot be read or has more than 8 bits per channel.
    """
    with _open_image(path) as image:
        if image.mode not in _GREY | _COLOUR:  # Pillow would clip larger values at 255 instead of scaling them
            raise DataError(
                f"image {str(path)!r} has mode {image.mode!r}, expected 8 bits per channel; scale its values to "
                "0...255 and save it again, for example with "
                "Image.fromarray((255 * (x - low) / (high - low)).round().astype('uint8')).save(path)"
            )
        return image.mode in _GREY


def read_image(path: Path, grey: bool) -> Tensor:
    """Returns an image as it is displayed, uint8 [channels, height, width], in grey or in RGB.

    Raises:
        DataError: if the image cannot be read.
    """
    from PIL.ImageOps import exif_transpose
    from torchvision.transforms.functional import pil_to_tensor

    with _open_image(path) as image:
        upright = exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
        pixels: Tensor = pil_to_tensor(upright.convert("L" if grey else "RGB"))
        return pixels


@contextlib.contextmanager
def _open_image(path: Path) -> "Iterator[Image]":
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise DataError(f"image {str(path)!r} cannot be read ({error}); replace or remove it") from None
