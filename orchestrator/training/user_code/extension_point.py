"""Imports, checks and calls what a sweep file names as `package.module:attribute`.

A network or an optimizer can be the user's own. Each such part of a trial is an `ExtensionPoint`.
"""

import contextlib
import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.training.user_code.own_code import NOT_OWN, note_import


class UserCodeError(RuntimeError):
    """The user's own code raised an exception. Not a ValueError, since those are shown without a traceback."""

    @property
    def traceback(self) -> str:
        """The traceback of that exception, without the frames that called the user's code; empty if there is none."""
        cause = self.__cause__
        if cause is None:
            return ""
        place = cause.__traceback__
        while place is not None and _calls_user_code(place.tb_frame.f_globals.get("__name__", "")):
            place = place.tb_next
        return "".join(traceback.format_exception(type(cause), cause, place))


def _calls_user_code(module: str) -> bool:
    package = module.partition(".")[0]
    return package in NOT_OWN or package in sys.stdlib_module_names


@dataclass(frozen=True)
class ExtensionPoint:
    """A part of a trial that the user's own code can define."""

    noun: str
    """The part in error messages: ``model``."""
    base: type | None
    """The class from which the user's class derives; None if the user's code is a function."""
    base_name: str
    """The base in error messages: ``torch.nn.Module``; for a function, a description of it."""

    def find(self, name: str) -> Any:
        """Imports and returns the class or function of this name.

        Raises:
            ValueError: if the module or attribute does not exist, or is something else.
            UserCodeError: if the module raises.
        """
        path, _, attribute = name.partition(":")
        module = self._import(name, path)
        found, suggestion = getattr(module, attribute, None), self._suggestion(module, attribute)
        if found is None:
            raise ValueError(f"{self.noun} {name!r}: {_location(module)} has no {self._what} {attribute!r}{suggestion}")
        if not self._accepts(found):
            given = f"a {type(found).__name__}"
            if isinstance(found, type):
                given = "another class" if self.base else "a class"
            raise ValueError(f"{self.noun} {name!r} is {given}, expected {self._expected}{suggestion}")
        return found

    @contextlib.contextmanager
    def errors(self, name: str, doing: str) -> Iterator[None]:
        """Turns exceptions of imported code into UserCodeError, with the original as its cause.

        This includes SystemExit, which a script that is imported as a module raises. It would end the command as if it
        had succeeded.

        Args:
            name: the name in the sweep file. Exceptions of built-in parts are not converted.
            doing: completes the message "model raised when ...".
        """
        if ":" not in name:
            yield
            return
        try:
            yield
        except UserCodeError:  # converted already, by the part that raised
            raise
        except (Exception, SystemExit) as error:
            text = f"{self.noun} {name!r} raised when {doing}: {type(error).__name__}: {error}"
            raise UserCodeError(text) from error

    @property
    def _what(self) -> str:
        return "class" if self.base else "function"

    @property
    def _expected(self) -> str:
        return f"a class derived from {self.base_name}" if self.base else self.base_name

    def _accepts(self, found: object) -> bool:
        if self.base is None:
            return callable(found) and not isinstance(found, type)
        return isinstance(found, type) and issubclass(found, self.base)

    def _import(self, name: str, path: str) -> ModuleType:
        importlib.invalidate_caches()
        if path not in sys.modules:
            note_import(path)
        try:
            with self.errors(name, "imported"):
                return importlib.import_module(path)
        except UserCodeError as error:
            cause = error.__cause__
            missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
            if missing is None or not f"{path}.".startswith(f"{missing}."):
                raise
            if path.endswith(".py"):
                fix = f"write the module without .py: {name.replace('.py:', ':')}"
            else:
                fix = f"run the command in the folder from which `import {path}` works, or install the package"
            raise ValueError(f"{self.noun} {name!r}: {cause}; Python looked in {_searched_folders()}: {fix}") from None

    def _suggestion(self, module: ModuleType, attribute: str) -> str:
        own = vars(module).items()
        # A module's functions include those that it imports, which are not candidates.
        candidates = [
            key
            for key, value in own
            if self._accepts(value) and (self.base or getattr(value, "__module__", "") == module.__name__)
        ]
        if not candidates:
            return f"; it has no {self.base_name if self.base else 'function'}"
        close = difflib.get_close_matches(attribute, candidates, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ";"
        return f"{hint} it has: {', '.join(sorted(candidates))}"


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_arguments(what: str, target: Any, positional: tuple[Any, ...], arguments: Mapping[str, Any]) -> None:
    """Raises ValueError if a class or function cannot be called with these arguments.

    Args:
        what: names the target in the message: ``model 'my_nets:Net'``.
        target: the class or function.
        positional: arguments that the sweep file does not give. The message leaves them out.
        arguments: the keyword arguments.
    """
    try:
        signature = inspect.signature(target)
    except ValueError:
        raise ValueError(f"{what} is compiled and has no signature: call it in a function of your own") from None
    try:
        signature.bind(*positional, **arguments)
    except TypeError as error:
        hidden, given = len(positional), shown(arguments)
        if hidden > sum(value.kind in _POSITIONAL for value in signature.parameters.values()):
            hidden, given = 0, f"{hidden} positional arguments"
        name = getattr(target, "__name__", type(target).__name__)
        raise ValueError(
            f"{what} cannot be called with {given}: {error}; its signature is {name}{_without(signature, hidden)}"
        ) from None


def named_parameters(target: Any) -> set[str]:
    """Returns the names of the parameters that can be passed by keyword."""
    parameters = inspect.signature(target).parameters.items()
    return {key for key, value in parameters if value.kind in (value.POSITIONAL_OR_KEYWORD, value.KEYWORD_ONLY)}


def shown(arguments: Mapping[str, Any]) -> str:
    """Returns the arguments as in a call, or ``no arguments``."""
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"


def _without(signature: inspect.Signature, count: int) -> inspect.Signature:
    if count == 0:
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[count:], return_annotation=signature.empty)


def _searched_folders() -> str:
    folders = [Path(entry or ".").resolve() for entry in sys.path]
    pythons = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    # Leave out the folders of the Python installation.
    own = [str(folder) for folder in folders if folder.is_dir() and not any(map(folder.is_relative_to, pythons))]
    return ", ".join([*dict.fromkeys(own), "the installed packages"])


def _location(module: ModuleType) -> str:
    return f"module {module.__name__!r} ({getattr(module, '__file__', None) or 'a folder without __init__.py'})"
