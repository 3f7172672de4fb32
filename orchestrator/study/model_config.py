"""The network of a trial."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from orchestrator.study.fields import Config, PositiveInt, Share
from orchestrator.study.user_code_config import CLASS, UserCodeConfig, tag


class CnnConfig(Config):
    """The paper's CNN: two 3x3 convolutions of 32 channels, each with ReLU and 2x2 max pool, two hidden layers of 400.

    `batch_norm` adds batch norm before every ReLU, `dropout` adds dropout after every hidden layer.
    """

    name: Literal["cnn"]
    dropout: Share = 0.0
    batch_norm: bool = False


class MlpConfig(Config):
    """Hidden layers with ReLU on the flattened image; batch norm and dropout as in `CnnConfig`."""

    name: Literal["mlp"]
    hidden: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (400, 400)
    dropout: Share = 0.0
    batch_norm: bool = False


class ModuleConfig(UserCodeConfig):
    """A user-defined network.

    `shape` (channels, height, width) and `classes` (their number) are also passed to the class if it has such
    parameters.
    """


Model = Annotated[
    Annotated[CnnConfig, Tag("cnn")] | Annotated[MlpConfig, Tag("mlp")] | Annotated[ModuleConfig, Tag(CLASS)],
    Discriminator(tag),
]
"""Networks: built in, or the user's own."""
