"""Importing the user's own networks, calling them with the sweep file's arguments, and reporting errors."""

import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.study.parts.model_config import ModuleConfig
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature
from orchestrator.training.user_code.extension_point import UserCodeError
from orchestrator.training.user_code.own_code import importable_from

SHAPE = (1, 8, 8)
SIGNATURE = Signature(SHAPE, 10)
HERE = "tests.training.user_nets"


def config(name: str, **arguments: Any) -> ModuleConfig:
    return ModuleConfig.model_validate({"name": name, **arguments})


def build(name: str, seed: int = 0, **arguments: Any) -> nn.Module:
    return build_model(config(f"{HERE}:{name}", **arguments), SIGNATURE, seed)


def test_arguments_come_from_the_sweep_file_and_the_data() -> None:
    assert build("Plain").given == (SHAPE, 10, 5, [])
    assert build("Plain", width=7, sizes=[1, 2]).given == (SHAPE, 10, 7, [1, 2])
    assert build("Fixed")(torch.zeros(3, *SHAPE)).shape == (3, 10)
    assert build("OfAnyTask").given == (SHAPE, 10, None)
    assert build("KeywordOnly", depth=2, kind="x").given == {"classes": 10, "depth": 2, "kind": "x"}


def test_a_network_over_tokens_is_offered_the_vocabulary() -> None:
    signature = Signature((5,), outputs=7, vocabulary=9)
    model = build_model(config(f"{HERE}:OfAnyTask"), signature, 0)
    assert model.given == ((5,), 7, 9)
    assert model(torch.zeros(3, 5, dtype=torch.int64)).shape == (3, 5, 7)


def test_the_sweep_files_arguments_take_precedence() -> None:
    assert build("Plain", shape=[4, 4, 4]).given[0] == [4, 4, 4]


def test_initial_weights_depend_only_on_the_seed() -> None:
    for name in ("Plain", "Lazy"):
        sys.modules.pop(HERE, None)  # repeat the import, since it draws random numbers
        torch.manual_seed(1)
        first = build(name, seed=5)
        torch.manual_seed(2)
        before = torch.get_rng_state()
        again, other = build(name, seed=5), build(name, seed=6)
        assert torch.equal(before, torch.get_rng_state())
        for key, tensor in first.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[key])
        assert not all(map(torch.equal, first.parameters(), other.parameters()))


def test_class_that_modifies_its_arguments_does_not_change_the_config() -> None:
    given = config(f"{HERE}:Consuming", widths=[1, 2])
    build_model(given, SIGNATURE, 0)
    assert given.arguments == {"widths": [1, 2]}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "Plane",
            {},
            r"module 'tests\.training\.user_nets' \(.*user_nets\.py\) has no class 'Plane'; did you mean 'P",
        ),
        ("Xyz", {}, r"has no class 'Xyz'; it has: Broken, BrokenPass, Consuming, Detached, "),
        ("NoNetwork", {}, r"NoNetwork' is another class, expected a class derived from torch\.nn\.Module"),
        ("make_net", {}, r"make_net' is a function, expected a class derived from torch\.nn\.Module; it has: "),
        ("Nothing", {}, r"Nothing' has no parameter that requires grad: there is nothing to train"),
        (
            "Plain",
            {"wdth": 3},
            r"Plain' cannot be called with shape=\(1, 8, 8\), classes=10, wdth=3: got an unexpected keyword argument "
            r"'wdth'; its signature is Plain\(shape: .*, classes: int, width: int = 5",
        ),
        ("Broken", {}, r"Broken' cannot be called with no arguments: missing a required argument: 'width'; its sig"),
        ("Plain", {"classes": 7}, r"gives \(2, 7\) for 2 images of shape \(1, 8, 8\), expected \(2, 10\)"),
    ],
)
def test_a_wrong_class_or_argument_is_a_value_error(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_place:Net", r"'no_such_place:Net': No module named 'no_such_place'; Python looked in "),
        (
            "tests.training.no_such:Net",
            r"No module named 'tests\.training\.no_such'; .*`import tests\.training\.no_such",
        ),
        (f"{HERE}.deeper:Net", r"'tests\.training\.user_nets' is not a package; Python looked in "),
    ],
)
def test_a_missing_module_is_named_with_the_searched_folders(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_model(config(name), SIGNATURE, 0)
    assert str(Path(__file__).parents[3]) in str(caught.value)
    assert str(caught.value).endswith("works, or install the package")


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("name", "arguments", "message", "line"),
    [
        (
            "Broken",
            {"width": 3},
            "raised when called with width=3: ValueError: no width is good",
            'raise ValueError(f"no',
        ),
        (
            "BrokenPass",
            {},
            "raised when called with 2 images of shape (1, 8, 8): ValueError",
            'raise ValueError("a bug',
        ),
    ],
)
def test_an_exception_of_the_users_network_keeps_its_traceback(
    name: str, arguments: dict[str, Any], message: str, line: str
) -> None:
    with pytest.raises(UserCodeError) as caught:
        build(name, **arguments)
    assert message in str(caught.value)
    assert line in shown(caught.value)
    assert not isinstance(caught.value, ValueError)  # a ValueError would be shown without a traceback


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_package\n", "raised when imported: ModuleNotFoundError: No module named 'no_such_package'"),
        ("class Net(:\n", "raised when imported: SyntaxError"),
        ("raise ValueError('not today')\n", "raised when imported: ValueError: not today"),
    ],
)
def test_a_failed_import_shows_the_line(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_written.py").write_text(code)
    monkeypatch.setattr(sys, "path", [*sys.path])
    importable_from(str(tmp_path))
    with pytest.raises(UserCodeError) as caught:
        build_model(config("half_written:Net"), SIGNATURE, 0)
    assert message in str(caught.value)
    assert 'half_written.py", line 1' in shown(caught.value)


def test_a_module_without_networks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty_of_networks.py").write_text("Net = 3\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    importable_from(str(tmp_path))
    with pytest.raises(ValueError, match=r"empty_of_networks:Net' is a int, .*; it has no torch\.nn\.Module$"):
        build_model(config("empty_of_networks:Net"), SIGNATURE, 0)


def test_importable_folder_is_appended_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yaml.py").write_text("raise RuntimeError('hides what is installed')\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    importable_from(str(tmp_path))
    importable_from(str(tmp_path))
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)
