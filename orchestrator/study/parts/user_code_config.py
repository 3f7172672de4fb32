"""The part of a config that names the user's own class or function, ``package.module:name``."""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from orchestrator.study.parts.fields import Config

OWN_CODE = "package.module:name"
"""The format of the name of the user's own class or function."""

Scalar = bool | int | float | str | None


def _importable(name: str) -> str:
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise ValueError(f"must name a class or function as {OWN_CODE}, with letters, digits and '_' only")
    return name


CodeName = Annotated[str, Field(examples=[OWN_CODE]), AfterValidator(_importable)]


class UserCodeConfig(Config):
    """A class or function that the trial imports. Keys that are not fields are passed to it as keyword arguments."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar | list[Scalar]] = Field(init=False)

    name: CodeName

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the class or function."""
        return dict(self.__pydantic_extra__ or {})


def tag(value: Any) -> Any:
    """Returns the name that selects the config class: the value of ``name``, or `OWN_CODE` for the user's own code."""
    if isinstance(value, dict) and "name" in value and not isinstance(value["name"], str):
        return repr(value["name"])  # reported as an unknown name
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return OWN_CODE if isinstance(name, str) and ":" in name else name


def named(value: Any) -> Any:
    """Allows a name alone, as in ``loss: mse``, instead of a mapping with a name."""
    return {"name": value} if isinstance(value, str) else value
