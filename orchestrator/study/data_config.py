"""The data set of a trial, and its augmentation."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from orchestrator.study.fields import NOT_IDENTITY, Config, NonNegativeInt, PositiveInt


class _Data(Config):
    fixed_content: ClassVar[bool] = True
    """Whether the name determines the content. If not, the data is compared with the digests in stored trials."""
    name: str
    train_subset: PositiveInt | None = None
    """Number of training images to use, from the start of a fixed random order; None uses all. Test and validation
    images do not change."""


class _OnDisk(_Data):
    @field_validator("path", check_fields=False)
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        # Ray runs every trial in another working directory, in which a relative path would name another folder.
        if path is None:
            return None
        try:
            return str(Path(path).expanduser().resolve())
        except RuntimeError:
            raise ValueError(f"home folder {path.partition('/')[0]!r} does not exist; write the full path") from None


class DigitsData(_Data):
    """The 1,797 handwritten digits (1x8x8) that are part of scikit-learn and need no download."""

    name: Literal["digits"]


class ImageFolderData(_OnDisk):
    """A folder with images in train/<class>/ and test/<class>/, all of the same size."""

    fixed_content: ClassVar[bool] = False
    name: Literal["image_folder"]
    path: Annotated[str, Field(min_length=1, json_schema_extra=NOT_IDENTITY)]


class TorchvisionData(_OnDisk):
    """A published data set. Missing files are downloaded and verified; torchvision decodes them."""

    name: Literal["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn"]
    path: Annotated[str | None, Field(min_length=1, json_schema_extra=NOT_IDENTITY)] = None
    """The folder with the published files, into which missing ones are downloaded; None: the machine's cache folder."""


Data = Annotated[DigitsData | ImageFolderData | TorchvisionData, Field(discriminator="name")]


class AugmentationConfig(Config):
    """Random augmentation of the training images, drawn anew in every epoch."""

    flip: bool = False
    """Flips every image horizontally with probability 1/2."""
    crop: NonNegativeInt = 0
    """Pads every image with this many black pixels on each side, then crops it at a random position to its size."""
