"""Where a number comes from, in a clean checkout, a dirty one and none at all."""

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.store import provenance
from orchestrator.store.provenance import capture, redacted
from tests.store.stored import python

GIT = [
    *("git", "-c", "user.name=me", "-c", "user.email=me@here", "-c", "commit.gpgsign=false"),
    *("-c", "init.defaultBranch=main"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the module in it; what it says of its commit is what stands there."""
    (tmp_path / "package").mkdir()
    shutil.copy(provenance.__file__, tmp_path / "package/provenance.py")
    (tmp_path / "other.py").write_text("")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def committed(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return git(folder, "rev-parse", "HEAD")


def commit_in(folder: Path, **environment: str) -> str:
    code = "import sys; sys.path.insert(0, 'package'); sys.dont_write_bytecode = True\nimport provenance\n"
    code += "print(provenance._commit())"
    environment = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_clean_checkout_is_named_by_its_commit(checkout: Path) -> None:
    commit = committed(checkout)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert commit_in(checkout) == commit


@pytest.mark.parametrize("changed", ["package/provenance.py", "other.py"])
def test_a_changed_checkout_is_dirty(checkout: Path, changed: str) -> None:
    commit = committed(checkout)
    with (checkout / changed).open("a") as stream:
        stream.write("# changed\n")
    assert commit_in(checkout) == f"{commit}-dirty"
    git(checkout, "add", ".")
    assert commit_in(checkout) == f"{commit}-dirty"


def test_results_beside_the_code_do_not_make_it_dirty(checkout: Path) -> None:
    commit = committed(checkout)
    (checkout / "results").write_text("")
    assert commit_in(checkout) == commit


def test_code_outside_a_checkout_has_no_commit(checkout: Path) -> None:
    assert commit_in(checkout) == "None"


def test_code_that_lies_untracked_in_somebody_elses_checkout_has_no_commit(checkout: Path) -> None:
    """A virtual environment within another project."""
    (checkout / ".gitignore").write_text("package\n")
    committed(checkout)
    assert commit_in(checkout) == "None"


def test_a_checkout_without_a_commit(checkout: Path) -> None:
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    assert commit_in(checkout) == "None"


def test_a_machine_without_git(checkout: Path) -> None:
    committed(checkout)
    assert commit_in(checkout, PATH="") == "None"


def test_what_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["run", "my sweep", "--tracking-uri", "http://me:secret@host/a"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/hessian-dynamics", *arguments])
    monkeypatch.setenv("LOGNAME", "marie")
    captured = capture()
    assert captured.command == "hessian-dynamics run 'my sweep' --tracking-uri http://***@host/a"
    assert captured.version == metadata.version("hessian-dynamics")
    assert (captured.host, captured.user, captured.python) == (socket.gethostname(), "marie", platform.python_version())
    assert captured.processor
    assert captured.packages["torch"] == metadata.version("torch")
    assert captured.commit is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", captured.commit)


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("torch", "no-such-package-anywhere"))
    assert list(capture().packages) == ["torch"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_name_is_a_number() -> None:
    code = """
        from orchestrator.store.provenance import capture
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            os.environ.pop(name, None)
        capture()  # imports what that user may not read
        os.setuid(54321)
        print(capture().user)
    """
    assert python(code) == "54321\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run x --seed 3", "run x --seed 3"),
        ("--tracking-uri https://me:p@ss@host:5000/a", "--tracking-uri https://***@host:5000/a"),
        ("--tracking-uri https://token@host", "--tracking-uri https://***@host"),
        ("postgresql://u:p@db/x and http://v:q@host", "postgresql://***@db/x and http://***@host"),
        ("http://host/a@b", "http://host/a@b"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("http://host?user=me&password=p&x=1", "http://host?user=me&password=***&x=1"),
        ("--set optimizer.lr=0.1", "--set optimizer.lr=0.1"),
    ],
)
def test_no_password_is_stored(text: str, shown: str) -> None:
    assert redacted(text) == shown
