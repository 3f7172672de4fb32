"""The user's own code is found without importing it: the named module and what it imports from the same project."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.training.user_code.own_code import (
    code_digests,
    find_module,
    named_modules,
    note_import,
    own_code,
    own_names,
)
from tests.training.trials import small_trial


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a project that can be imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    """Writes files; ``__`` in a name stands for a folder."""
    for name, content in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


def found(name: str) -> list[str]:
    return list(own_code(small_trial(model={"name": f"{name}:Net"})))


def test_built_in_networks_have_no_code() -> None:
    assert own_code(small_trial()) == {}
    assert named_modules(small_trial(model={"name": "a.b:Net", "kind": "c:d"})) == {"a.b"}


def test_classes_of_torch_are_not_the_users_code() -> None:
    trial = small_trial(model={"name": "torch.nn:Identity"})
    assert own_code(trial) == {}
    assert own_names(trial) == []
    assert own_names(small_trial(model={"name": "torchy:Net"})) == ["torchy:Net"]


def test_imports_within_the_project_are_followed(project: Path) -> None:
    write(project, idp_nets="import torch, json\nimport idp_a\n", idp_a="def f():\n    from idp_b import g\n", idp_b="")
    write(project, idp_unused="")
    assert found("idp_nets") == ["idp_a", "idp_b", "idp_nets"]
    assert "idp_nets" not in sys.modules


def test_packages_and_relative_imports_are_followed(project: Path) -> None:
    write(
        project,
        idq__init="",
        idq__models="from . import layers\nfrom .blocks.wide import Wide\n",
        idq__layers="",
        idq__tools="",
        idq__other="",
    )
    (project / "idq" / "init.py").rename(project / "idq" / "__init__.py")
    (project / "idq" / "blocks").mkdir()
    (project / "idq" / "blocks" / "__init__.py").write_text("from .deep import *\n")
    (project / "idq" / "blocks" / "wide.py").write_text("import idq.models\nfrom ..tools import f\n")
    (project / "idq" / "blocks" / "deep.py").touch()
    blocks = ["idq.blocks", "idq.blocks.deep", "idq.blocks.wide"]
    assert found("idq.models") == ["idq", *blocks, "idq.layers", "idq.models", "idq.tools"]


def test_code_without_a_package_file_is_found(project: Path) -> None:
    write(project, idn__small="from idn.parts import Part\n", idn__parts="")
    assert found("idn.small") == ["idn.parts", "idn.small"]


def test_installed_packages_are_followed_within_themselves_only(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "site-packages"
    folder.mkdir()
    write(folder, idi__models="import idi.layers\nimport idother\n", idi__layers="", idother="")
    monkeypatch.syspath_prepend(str(folder))
    assert found("idi.models") == ["idi.layers", "idi.models"]
    write(project, idown="import idother\nimport orchestrator.study.config\n")
    assert found("idown") == ["idown"]


def test_source_that_cannot_be_parsed_is_still_code(project: Path) -> None:
    write(project, idbad="def (:\n")
    assert found("idbad") == ["idbad"]
    assert found("idnowhere.models") == []
    assert find_module("idbad.child") is None


def test_digests_are_those_of_the_files(project: Path) -> None:
    write(project, idd="import ide\n", ide="x = 1\n")
    digests = code_digests(own_code(small_trial(model={"name": "idd:Net"})))
    assert digests == {name: hashlib.sha256((project / f"{name}.py").read_bytes()).hexdigest() for name in digests}
    assert list(digests) == ["idd", "ide"]


def test_an_imported_module_keeps_the_source_that_was_imported(project: Path) -> None:
    """A worker process that has imported a network trains it even if its file is edited."""
    trial = small_trial(model={"name": "idf:Net"})
    write(project, idf="x = 1\n")
    note_import("idf")
    __import__("idf")
    write(project, idf="x = 22\n")
    assert own_code(trial) == {"idf": b"x = 1\n"}
    del sys.modules["idf"]
    assert own_code(trial) == {"idf": b"x = 22\n"}
