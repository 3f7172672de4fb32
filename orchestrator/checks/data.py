"""Checks of a sweep's data sets and of the user's own code."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from orchestrator.checks.finding import Finding, ok, problem, warning
from orchestrator.study.parts.data_config import Data
from orchestrator.study.sweep import Sweep
from orchestrator.training.user_code.extension_point import UserCodeError
from orchestrator.training.user_code.own_code import importable_from, own_names


def check_sweep(sweep: Sweep) -> Iterator[Finding]:
    """Checks that the data sets of a sweep are available and the user's own code can be imported."""
    yield from map(check_data, dict.fromkeys(trial.data for trial in sweep.trials))
    yield from map(check_own_code, dict.fromkeys(name for trial in sweep.trials for name in own_names(trial)))


def check_data(config: Data, ask_servers: bool = False) -> Finding:
    """Checks whether a data set is on this machine.

    Args:
        config: the data set.
        ask_servers: if the data set is absent, check that it can be downloaded.
    """
    importable_from(str(Path.cwd()))
    try:
        from orchestrator.training.data.datasets import available, obtainable

        state = obtainable(config) if ask_servers else available(config)
    except (ImportError, ValueError, UserCodeError) as error:
        return problem("data", f"{config.name}: {error}")
    if ": not usable: " in state:
        return problem("data", state.replace(": not usable: ", ": "))
    absent = "absent" in state and not ask_servers
    return warning("data", state) if absent else ok("data", state)


def check_own_code(name: str) -> Finding:
    """Checks that the user's own class or function, ``module:attribute``, can be imported."""
    module, _, attribute = name.partition(":")
    importable_from(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # the user's code may raise anything
        text = f"{name} cannot be imported ({type(error).__name__}: {error})"
        return problem("code", text, "run the command in the folder that contains the module")
    if not callable(found):
        return problem("code", f"{name}: {module} has no class or function {attribute!r}")
    return ok("code", f"{name} can be imported")
