"""The network of a trial."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator

from orchestrator.study.fields import Config, PositiveInt, Share

MODULE = "package.module:Class"
"""The format of the name of a user-defined network."""


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


Scalar = bool | int | float | str | None


class ModuleConfig(Config):
    """A user-defined network: a class that the trial imports.

    All other keys are passed to the class as keyword arguments. `shape` (channels, height, width) and `classes` (their
    number) are also passed if the class has such parameters.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar | list[Scalar]] = Field(init=False)

    name: Annotated[str, Field(examples=[MODULE])]

    @field_validator("name")
    @classmethod
    def _importable(cls, name: str) -> str:
        module, _, class_name = name.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), class_name)):
            raise ValueError(f"must name a class as {MODULE}, with letters, digits and '_' only")
        return name

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the class."""
        return dict(self.__pydantic_extra__ or {})


def _tag(value: Any) -> Any:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    if not isinstance(name, str):
        return None
    return MODULE if ":" in name else name


Model = Annotated[
    Annotated[CnnConfig, Tag("cnn")] | Annotated[MlpConfig, Tag("mlp")] | Annotated[ModuleConfig, Tag(MODULE)],
    Discriminator(_tag),
]
