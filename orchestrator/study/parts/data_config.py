"""The data of a trial, and the augmentation of images."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from orchestrator.study.parts.fields import NOT_IDENTITY, Config, NonNegativeInt, PositiveFloat, PositiveInt, Share
from orchestrator.study.parts.user_code_config import OWN_CODE, CodeName, UserCodeConfig, named, tag


class NoiseShift(Config):
    """Gaussian noise on the test inputs of the OOD evaluation."""

    name: Literal["noise"] = "noise"
    noise: PositiveFloat = 0.25
    """Standard deviation: of normalised inputs, or relative to the full range of pixels if `before` is given."""
    before: Literal["normalisation"] | None = None
    """`normalisation` adds the noise to pixels in 0..1, before they are normalised; they are not clipped."""


class OwnShift(UserCodeConfig):
    """A function `shift(inputs, generator)` that maps normalised test inputs [n, ...] to shifted ones.

    The generator is seeded, so the shift is the same in every trial.
    """


def _shift_tag(value: Any) -> Any:
    return tag(value) or "noise"


Shift = Annotated[
    Annotated[NoiseShift, Tag("noise")] | Annotated[OwnShift, Tag(OWN_CODE)],
    Discriminator(_shift_tag),
    BeforeValidator(named),
]
"""The distribution shift of the OOD evaluation."""


class _Data(Config):
    fixed_content: ClassVar[bool] = True
    """Whether the name determines the content. If not, the data is compared with the digests in stored trials."""
    name: str
    train_subset: PositiveInt | None = None
    """Number of training samples to use, from the start of a fixed random order; None uses all. Test and validation
    samples do not change."""
    validation_fraction: Share = 0.1
    """Share of the published training samples that is held out for validation. 0.0: no validation."""


class _Images(_Data):
    classes: Annotated[int, Field(ge=2)] | Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = None
    """The first K classes, or the classes of these names; None uses all. They are numbered from 0 in this order."""
    normalise: Literal["channel", "pixel", "none"] = "channel"
    """Standardises every channel, or every pixel, to mean 0 and deviation 1 over the training images. `none` only
    scales pixels to 0..1."""
    shift: Shift = NoiseShift()

    @field_validator("classes", mode="before")
    @classmethod
    def _number_or_names(cls, classes: object) -> object:
        number = isinstance(classes, int) and not isinstance(classes, bool) and classes >= 2
        names = isinstance(classes, list | tuple) and len(classes) >= 2 and all(isinstance(one, str) for one in classes)
        if not (classes is None or number or names):
            raise ValueError("must be an integer of at least 2, or a list of at least two names in quotes")
        return classes

    @field_validator("classes")
    @classmethod
    def _each_class_once(cls, classes: int | tuple[str, ...] | None) -> int | tuple[str, ...] | None:
        if isinstance(classes, tuple) and len(set(classes)) < len(classes):
            raise ValueError("names a class twice; name each once")
        return classes


def _absolute(path: str | None) -> str | None:
    # Ray runs every trial in another working directory, in which a relative path would name another folder.
    if path is None:
        return None
    try:
        return str(Path(path).expanduser().resolve())
    except RuntimeError:
        raise ValueError(f"home folder {path.partition('/')[0]!r} does not exist; write the full path") from None


class DigitsData(_Images):
    """The 1,797 handwritten digits (1x8x8) that are part of scikit-learn and need no download."""

    name: Literal["digits"]


class ImageFolderData(_Images):
    """A folder with images in train/<class>/ and test/<class>/, all of the same size."""

    fixed_content: ClassVar[bool] = False
    name: Literal["image_folder"]
    path: Annotated[str, Field(min_length=1, json_schema_extra=NOT_IDENTITY)]

    _resolved = field_validator("path")(_absolute)


class TorchvisionData(_Images):
    """A published data set. Missing files are downloaded and verified; torchvision decodes them."""

    name: Literal["cifar10", "cifar100", "mnist", "fashion_mnist", "svhn"]
    path: Annotated[str | None, Field(min_length=1, json_schema_extra=NOT_IDENTITY)] = None
    """The folder with the published files, into which missing ones are downloaded; None: the machine's cache folder."""

    _resolved = field_validator("path")(_absolute)


class TableData(_Data):
    """Rows of numbers with a target: a CSV or Parquet file of your own, or a data set of scikit-learn.

    Every column, and a real target, is standardised to mean 0 and deviation 1 over the training rows. A target of text,
    or with `task: classes`, is a class; otherwise it is a real number. A random fifth of the rows is the test set.
    """

    fixed_content: ClassVar[bool] = False
    name: Literal["table"]
    dataset: Literal["diabetes", "california_housing"] | None = None
    """`diabetes` is part of scikit-learn; `california_housing` is downloaded by it."""
    path: Annotated[str | None, Field(min_length=1, json_schema_extra=NOT_IDENTITY)] = None
    target: str | None = None
    """The column of the target in the file."""
    task: Literal["values", "classes"] | None = None
    """What the target is. None: real numbers, or classes if it is text."""
    shift: Shift = NoiseShift()

    _resolved = field_validator("path")(_absolute)

    @model_validator(mode="after")
    def _file_or_dataset(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("needs either dataset, or path and target; give one of them")
        if self.dataset is not None and self.target is not None:
            raise ValueError(
                f"target is {self.target!r}, but the target of {self.dataset} is fixed; remove target, or write "
                "the table to a file and give its path"
            )
        if self.path is not None and self.target is None:
            raise ValueError("path is given without target; name the column to predict, for example target: price")
        if self.path is not None and Path(self.path).suffix not in (".csv", ".parquet"):
            raise ValueError(f"path is {self.path!r}, expected a file that ends in .csv or .parquet")
        return self


class TextData(_Data):
    """A text file. Every sample is `context` tokens, and its targets are the tokens one position later.

    The last tenth of the text is the test set. Shifted test inputs have a random token at 5% of the positions.
    """

    fixed_content: ClassVar[bool] = False
    name: Literal["text"]
    path: Annotated[str, Field(min_length=1, json_schema_extra=NOT_IDENTITY)]
    context: PositiveInt = 64
    tokens: Literal["characters", "bytes"] = "characters"

    _resolved = field_validator("path")(_absolute)


class SortingData(_Data):
    """Random sequences of numbers, followed by the same numbers in ascending order, which are to be predicted.

    A sample has 2 `length` - 1 positions. Shifted test inputs draw numbers from the upper half of the range only.
    """

    name: Literal["sorting"]
    length: Annotated[int, Field(ge=2)] = 6
    """Numbers in a sequence."""
    vocabulary: Annotated[int, Field(ge=2)] = 10
    """Numbers are 0..vocabulary - 1."""
    sequences: Annotated[int, Field(ge=10)] = 5_000
    """Training sequences, including those for validation."""
    test_sequences: PositiveInt = 1_000


class OwnData(_Data, UserCodeConfig):
    """A function that returns tensors: (train inputs, train targets, test inputs, test targets).

    Or a mapping with these as `train` and `test` pairs, and optionally `classes`, `vocabulary` and `labels: true`
    (several 0/1 labels per sample). Other keys of the config are passed to the function.
    """

    model_config = ConfigDict(extra="allow")
    fixed_content: ClassVar[bool] = False
    name: CodeName
    shift: Shift = NoiseShift()


Data = Annotated[
    Annotated[DigitsData, Tag("digits")]
    | Annotated[ImageFolderData, Tag("image_folder")]
    | Annotated[TorchvisionData, Tag("cifar10")]
    | Annotated[TorchvisionData, Tag("cifar100")]
    | Annotated[TorchvisionData, Tag("mnist")]
    | Annotated[TorchvisionData, Tag("fashion_mnist")]
    | Annotated[TorchvisionData, Tag("svhn")]
    | Annotated[TableData, Tag("table")]
    | Annotated[TextData, Tag("text")]
    | Annotated[SortingData, Tag("sorting")]
    | Annotated[OwnData, Tag(OWN_CODE)],
    Discriminator(tag),
]
"""Data sets: built in, or the user's own."""


class AugmentationConfig(Config):
    """Random augmentation of the training images, drawn anew in every epoch."""

    flip: bool = False
    """Flips every image horizontally with probability 1/2."""
    crop: NonNegativeInt = 0
    """Pads every image with this many black pixels on each side, then crops it at a random position to its size."""
