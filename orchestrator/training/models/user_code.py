"""Imports, checks and instantiates the user's own networks, given as `package.module:Class`."""

import contextlib
import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from orchestrator.study.model_config import ModuleConfig
from orchestrator.training.models.own_code import note_import


class ModelCodeError(RuntimeError):
    """The user's own code raised an exception. Not a ValueError, since those are shown without a traceback."""


def build_user_model(
    config: ModuleConfig, shape: tuple[int, int, int], classes: int, before_call: Callable[[], None]
) -> nn.Module:
    """Instantiates the class named in a config, with the config's arguments as keyword arguments.

    `shape` and `classes` are passed too if the signature has them and the config does not set them.

    Args:
        config: names the class.
        shape: channels, height and width of an image.
        classes: number of classes.
        before_call: called after the import and before the class is instantiated. It seeds the random generator.

    Raises:
        ValueError: if the module or class does not exist, is not a torch.nn.Module, does not take the arguments, or
            has no trainable parameter.
        ModelCodeError: if the module or the class raises.
    """
    network = _find_class(config.name)
    arguments = _arguments(config, network, {"shape": shape, "classes": classes})
    before_call()
    with user_code_errors(config.name, f"called with {_shown(arguments)}"):
        model = network(**arguments)
    # Lazy parameters have no size before the first pass, so this counts parameters, not their elements.
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model {config.name!r} has no parameter that requires grad: there is nothing to train")
    return model


@contextlib.contextmanager
def user_code_errors(name: str, doing: str) -> Iterator[None]:
    """Turns exceptions of the user's own network into ModelCodeError, with the original as its cause.

    Args:
        name: name of the model. Exceptions of built-in models are not converted.
        doing: completes the message "model raised when ...".
    """
    if ":" not in name:
        yield
        return
    try:
        yield
    except Exception as error:
        raise ModelCodeError(f"model {name!r} raised when {doing}: {type(error).__name__}: {error}") from error


def _find_class(name: str) -> type[nn.Module]:
    path, _, attribute = name.partition(":")
    module = _import(name, path)
    found, suggestion = getattr(module, attribute, None), _suggestion(module, attribute)
    if found is None:
        raise ValueError(f"model {name!r}: {_location(module)} has no class {attribute!r}{suggestion}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        given = "another class" if isinstance(found, type) else f"a {type(found).__name__}"
        raise ValueError(f"model {name!r} is {given}, expected a class derived from torch.nn.Module{suggestion}")
    return found


def _import(name: str, path: str) -> ModuleType:
    importlib.invalidate_caches()
    if path not in sys.modules:
        note_import(path)
    try:
        with user_code_errors(name, "imported"):
            return importlib.import_module(path)
    except ModelCodeError as error:
        cause = error.__cause__
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if missing is None or not f"{path}.".startswith(f"{missing}."):
            raise
        raise ValueError(
            f"model {name!r}: {cause}; Python looked in {_searched_folders()}: run the command in the folder from "
            f"which `import {path}` works, or install the package"
        ) from None


def _searched_folders() -> str:
    folders = [Path(entry or ".").resolve() for entry in sys.path]
    pythons = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    # Leave out the folders of the Python installation.
    own = [str(folder) for folder in folders if folder.is_dir() and not any(map(folder.is_relative_to, pythons))]
    return ", ".join([*dict.fromkeys(own), "the installed packages"])


def _location(module: ModuleType) -> str:
    return f"module {module.__name__!r} ({getattr(module, '__file__', None) or 'a folder without __init__.py'})"


def _suggestion(module: ModuleType, attribute: str) -> str:
    networks = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
    if not networks:
        return "; it has no torch.nn.Module"
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
