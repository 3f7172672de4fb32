"""The part of a config that names the user's own code as ``package.module:Class``, or ``:function``."""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from orchestrator.study.fields import Config

CLASS = "package.module:Class"
"""The format of the name of a user-defined class."""

Scalar = bool | int | float | str | None


def _importable(name: str) -> str:
    module, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), class_name)):
        raise ValueError(f"must name a class as {CLASS}, with letters, digits and '_' only")
    return name


ClassName = Annotated[str, Field(examples=[CLASS]), AfterValidator(_importable)]


class UserCodeConfig(Config):
    """A class that the trial imports. All keys that are not fields are passed to it as keyword arguments."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar | list[Scalar]] = Field(init=False)

    name: ClassName

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the class."""
        return dict(self.__pydantic_extra__ or {})


def tag(value: Any) -> Any:
    """Returns the name that selects the config class: the value of ``name``, or `CLASS` for the user's own code."""
    if isinstance(value, dict) and "name" in value and not isinstance(value["name"], str):
        return repr(value["name"])  # reported as an unknown name
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return CLASS if isinstance(name, str) and ":" in name else name


def named(value: Any) -> Any:
    """Allows a name alone, as in ``loss: mse``, instead of a mapping with a name."""
    return {"name": value} if isinstance(value, str) else value
