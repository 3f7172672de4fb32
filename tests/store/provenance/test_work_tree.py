"""The commit and the uncommitted changes of a checkout, and of code outside a checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.provenance import work_tree

GIT = [
    *("git", "-c", "user.name=me", "-c", "user.email=me@here", "-c", "commit.gpgsign=false"),
    *("-c", "init.defaultBranch=main"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with a copy of the module. The copy reports the commit of this checkout."""
    (tmp_path / "package").mkdir()
    shutil.copy(work_tree.__file__, tmp_path / "package/work_tree.py")
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
    code = "import sys; sys.path.insert(0, 'package'); sys.dont_write_bytecode = True\nimport work_tree\n"
    code += "print(work_tree.commit())"
    environment = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_clean_checkout_is_named_by_its_commit(checkout: Path) -> None:
    commit = committed(checkout)
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert commit_in(checkout) == commit


def diff_in(folder: Path, **environment: str) -> str:
    code = "import sys; sys.path.insert(0, 'package'); sys.dont_write_bytecode = True\nimport work_tree\n"
    code += "sys.stdout.write(str(work_tree.uncommitted()))"
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment, check=True
    ).stdout


def test_uncommitted_changes_are_stored_as_a_patch_that_applies(checkout: Path, tmp_path: Path) -> None:
    committed(checkout)
    assert diff_in(checkout) == "None"
    (checkout / "other.py").write_text("x = 1\n")
    (checkout / "beside.txt").write_text("untracked, and not code that runs")
    with (checkout / "package/work_tree.py").open("a") as stream:
        stream.write("# changed\n")
    git(checkout, "add", "other.py")  # staged or not
    patch = diff_in(checkout)
    assert "+x = 1" in patch
    assert "+# changed" in patch
    assert "beside" not in patch
    changed = (checkout / "package/work_tree.py").read_text()
    git(checkout, "reset", "--hard", "--quiet")
    (tmp_path / "it.patch").write_text(patch)
    git(checkout, "apply", "it.patch")
    assert (checkout / "package/work_tree.py").read_text() == changed


def test_the_patch_ignores_the_diff_settings_of_git(checkout: Path) -> None:
    committed(checkout)
    (checkout / "other.py").write_text("x = 1\n")
    git(checkout, "config", "diff.external", "false")
    git(checkout, "config", "color.diff", "always")
    assert "\n+x = 1\n" in diff_in(checkout)


@pytest.mark.parametrize("changed", ["package/work_tree.py", "other.py"])
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


def test_untracked_code_in_another_checkout_has_no_commit(checkout: Path) -> None:
    """A virtual environment inside the checkout of another project."""
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
