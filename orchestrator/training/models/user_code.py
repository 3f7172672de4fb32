"""Networks of the user's own: `package.module:Class`, imported, checked and called."""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from orchestrator.study.model_config import ModuleConfig


class ModelCodeError(RuntimeError):
    """The user's own code raised. Not a ValueError: its traceback is what tells them where."""


def importable_from(folder: str) -> None:
    """Lets this process import modules from a folder. Last in the path: they cannot hide what is installed."""
    if folder not in sys.path:
        sys.path.append(folder)


def build_own(
    config: ModuleConfig, shape: tuple[int, int, int], classes: int, before_call: Callable[[], None]
) -> nn.Module:
    """An instance of the class that a config names, called with the config's arguments by name.

    `shape` (channels, height, width) and `classes` are passed where its signature has them and the config does not.

    Args:
        config: names the class.
        shape: of an image.
        classes: how many there are.
        before_call: called between import and call: seeds what the class draws, whatever the import did.

    Raises:
        ValueError: where there is no such module or class, it is no torch.nn.Module, does not take the arguments, or
            has nothing to train.
        ModelCodeError: where the module or the class raises.
    """
    network = _find_class(config.name)
    arguments = _arguments(config, network, {"shape": shape, "classes": classes})
    before_call()
    with users_code(config.name, f"called with {_shown(arguments)}"):
        model = network(**arguments)
    # Lazy layers get their parameters at the first pass, so no number of them is asked for here.
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model {config.name!r} has no parameter that requires grad: there is nothing to train")
    return model


@contextlib.contextmanager
def users_code(name: str, doing: str) -> Iterator[None]:
    """What the code of a network of one's own raises comes out as ModelCodeError, its own traceback before it."""
    if ":" not in name:
        yield
        return
    try:
        yield
    except Exception as error:
        raise ModelCodeError(f"model {name!r} raised when {doing}: {type(error).__name__}: {error}") from error


def code_files(config: object) -> dict[str, Path]:
    """The file of a network of one's own, by module; empty for the networks of this package, and where it is not found.

    What that file imports is not among them.
    """
    if not isinstance(config, ModuleConfig):
        return {}
    path = config.name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(path)
    except Exception:  # the packages above are imported; whatever they raise is told when the network is built
        return {}
    return {path: Path(spec.origin)} if spec and spec.origin and Path(spec.origin).is_file() else {}


def _find_class(name: str) -> type[nn.Module]:
    path, _, attribute = name.partition(":")
    module = _import(name, path)
    found = getattr(module, attribute, None)
    if found is None:
        raise ValueError(f"model {name!r}: {_place(module)} has no class {attribute!r}{_nearest(module, attribute)}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        given = "a class of another kind" if isinstance(found, type) else f"a {type(found).__name__}"
        raise ValueError(
            f"model {name!r} is {given}, expected a class derived from torch.nn.Module{_nearest(module, attribute)}"
        )
    return found


def _import(name: str, path: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        with users_code(name, "imported"):
            return importlib.import_module(path)
    except ModelCodeError as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if missing is None or not f"{path}.".startswith(f"{missing}."):
            raise
        raise ValueError(
            f"model {name!r}: {cause}; Python looked in {_looked_in()}: run the command in the folder from which "
            f"`import {path}` works, or install the package"
        ) from None


def _looked_in() -> str:
    """The folders that are not Python's own."""
    folders = [Path(entry or ".").resolve() for entry in sys.path]
    pythons = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    own = [str(folder) for folder in folders if folder.is_dir() and not any(map(folder.is_relative_to, pythons))]
    return ", ".join([*dict.fromkeys(own), "the installed packages"])


def _place(module: ModuleType) -> str:
    return f"module {module.__name__!r} ({getattr(module, '__file__', None) or 'a folder without __init__.py'})"


def _nearest(module: ModuleType, attribute: str) -> str:
    networks = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
    if not networks:
        return "; it has no torch.nn.Module at all"
    close = difflib.get_close_matches(attribute, networks, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} it has: {', '.join(sorted(networks))}"


def _arguments(config: ModuleConfig, network: type[nn.Module], offered: dict[str, Any]) -> dict[str, Any]:
    signature = inspect.signature(network)
    named = {
        key
        for key, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    arguments = {key: value for key, value in offered.items() if key in named} | deepcopy(config.arguments)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"model {config.name!r} cannot be called with {_shown(arguments)}: {error}; its signature is "
            f"{network.__name__}{signature}"
        ) from None
    return arguments


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"
