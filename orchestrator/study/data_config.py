"""The data sets a trial can name."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from orchestrator.study.fields import NOT_IDENTITY, Config, NonNegativeInt, PositiveInt


class _Data(Config):
    name: str
    train_subset: PositiveInt | None = None
    """So many of the training images, in a fixed random order; None: all. Validation and test images stay the same."""


class _OnDisk(_Data):
    @field_validator("path", check_fields=False)
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        # Ray changes the working directory of every trial: a relative path would point elsewhere there.
        if path is None:
            return None
        try:
            return str(Path(path).expanduser().resolve())
        except RuntimeError:
            raise ValueError(f"there is no home folder {path.partition('/')[0]!r}; write the path out") from None


class DigitsData(_Data):
    """scikit-learn's 1,797 real images of handwritten digits, 1x8x8: embedded, no download."""

    name: Literal["digits"]


class ImageFolderData(_OnDisk):
    """A folder with train/<class>/* and test/<class>/* images, all of one size."""

    name: Literal["image_folder"]
    path: Annotated[str, Field(min_length=1, json_schema_extra=NOT_IDENTITY)]


class TorchvisionData(_OnDisk):
    """A data set that torchvision downloads and checks; or its published files, in a folder of one's own."""

    name: Literal["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn"]
    path: Annotated[str | None, Field(min_length=1, json_schema_extra=NOT_IDENTITY)] = None
    """Where the published files lie or are downloaded to; None: in the cache folder of each machine."""


Data = Annotated[DigitsData | ImageFolderData | TorchvisionData, Field(discriminator="name")]


class AugmentationConfig(Config):
    """Random changes of the training images, drawn anew in every epoch, on the trial's device."""

    flip: bool = False
    """Mirrors every image left to right with probability 1/2."""
    crop: NonNegativeInt = 0
    """Cuts every image, in its own size, out of itself with a black border of so many pixels."""
