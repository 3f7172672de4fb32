"""Every example in the README and in the docstrings runs."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import estimators

MODULES = [module.name for module in pkgutil.walk_packages(estimators.__path__, "estimators.")]


def test_the_readme_runs() -> None:
    readme = Path(estimators.__path__[0]) / "README.md"
    results = doctest.testfile(str(readme), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted >= 10 and results.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_the_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_public_names_are_documented() -> None:
    for name in estimators.__all__:
        assert getattr(estimators, name).__doc__, name
