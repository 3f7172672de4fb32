"""Importing what a sweep file names, for any part of a trial. Networks are tested in tests/training/models."""

import sys
from pathlib import Path

import pytest
from torch import nn

from orchestrator.training.user_code.extension_point import ExtensionPoint, UserCodeError, check_arguments
from orchestrator.training.user_code.own_code import importable_from

LOSS = ExtensionPoint("loss", None, "a function of outputs and targets")
MODEL = ExtensionPoint("model", nn.Module, "torch.nn.Module")
SOURCE = "from math import sin\nnumber = 3\ndef huber(outputs, targets):\n    return outputs - targets\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with one function."""
    (tmp_path / "my_losses.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    importable_from(str(tmp_path))
    return "my_losses"


def test_a_function_is_found(module: str) -> None:
    assert LOSS.find(f"{module}:huber")(5, 3) == 2


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (
            "hubre",
            r"module 'my_losses' \(.*my_losses\.py\) has no function 'hubre'; did you mean 'huber'\? it has: huber",
        ),
        (
            "number",
            r"loss 'my_losses:number' is a int, expected a function of outputs and targets; did you mean 'huber'",
        ),
    ],
)
def test_functions_of_the_module_are_suggested(module: str, attribute: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LOSS.find(f"{module}:{attribute}")


def test_the_part_that_raised_is_named_once() -> None:
    expected = pytest.raises(UserCodeError, match=r"^loss 'my:Loss' raised when evaluated: KeyError: 'x'$")
    with expected, MODEL.errors("my:Net", "trained"), LOSS.errors("my:Loss", "evaluated"):
        raise KeyError("x")


def test_exceptions_of_built_in_parts_are_not_converted() -> None:
    with pytest.raises(KeyError), MODEL.errors("cnn", "trained"):
        raise KeyError("x")


def test_the_signature_leaves_out_arguments_that_the_sweep_file_does_not_give() -> None:
    def make(params: list[int], width: int = 3, *, depth: int = 4) -> None: ...

    check_arguments("thing 'a:b'", make, ([],), {"depth": 1})
    message = (
        r"^thing 'a:b' cannot be called with widht=1: got an unexpected keyword argument 'widht'; its signature is "
        r"make\(width: int = 3, \*, depth: int = 4\)$"
    )
    with pytest.raises(ValueError, match=message):
        check_arguments("thing 'a:b'", make, ([],), {"widht": 1})


def test_a_traceback_starts_in_the_users_code(module: str) -> None:
    function = LOSS.find(f"{module}:huber")
    with pytest.raises(UserCodeError) as raised, LOSS.errors(f"{module}:huber", "evaluated"):
        function(None, 3)
    shown = raised.value.traceback.splitlines()
    caller, called = (line for line in shown if line.startswith('  File "'))
    assert __file__ in caller
    assert "my_losses.py" in called
    assert shown[-1].startswith("TypeError: unsupported operand")


def test_a_traceback_leaves_out_torch_and_the_callers(module: str, tmp_path: Path) -> None:
    (tmp_path / "my_losses.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(UserCodeError) as raised:
        LOSS.find(f"{module}:huber")
    shown = raised.value.traceback
    assert shown.count("File ") == 1
    assert "import nothing_of_this_name" in shown
    assert UserCodeError("changed the weights").traceback == ""


def test_a_script_that_exits_is_an_error(module: str, tmp_path: Path) -> None:
    (tmp_path / "my_losses.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(UserCodeError, match=r"loss 'my_losses:huber' raised when imported: SystemExit: 0$"):
        LOSS.find(f"{module}:huber")


def test_a_file_in_place_of_a_module_is_named() -> None:
    with pytest.raises(ValueError, match=r"write the module without \.py: my_losses:huber$"):
        LOSS.find("my_losses.py:huber")
