"""Provenance in a clean checkout, in a dirty checkout, and outside a checkout."""

import hashlib
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

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.provenance import attachments, provenance, work_tree
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.provenance.redaction import redacted
from tests.store.stored import python

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


def test_all_fields_are_captured(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_installed_packages_have_a_digest(tmp_path: Path) -> None:
    captured = capture()
    files = DiskFiles(tmp_path)
    provenance.write_attachments(files, captured)
    listed = attachments.read(files, attachments.PACKAGES, captured.packages_digest)
    assert listed is not None
    lines = listed.splitlines()
    assert f"torch=={metadata.version('torch')}" in lines
    assert len(lines) > 50
    assert lines == sorted(lines)
    assert hashlib.sha256(listed.encode()).hexdigest() == captured.packages_digest
    lock = Path(__file__).parents[3] / "requirements.lock"
    assert captured.lock_digest == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert captured.platform == platform.platform()


def test_user_code_is_stored_unchanged(tmp_path: Path) -> None:
    path, files = tmp_path / "nets.py", DiskFiles(tmp_path / "storage")
    path.write_text("first\n")
    first = capture({"my.nets": path, "gone": tmp_path / "gone.py"})
    path.write_text("second\n")
    assert first.own_code == {"my.nets": hashlib.sha256(b"first\n").hexdigest()}
    provenance.write_attachments(files, first)
    assert attachments.read(files, attachments.OWN_CODE, first.own_code["my.nets"]) == "first\n"
    assert capture().own_code == {}


def test_attempts_and_manifests_of_older_versions_are_read() -> None:
    old = {"version": "0.1.0", "commit": None, "command": "run", "host": "h", "user": "u", "python": "3.11"}
    made = provenance.Provenance(**old, processor="p")
    assert (made.diff_digest, made.packages_digest, made.own_code) == (None, "", {})


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_PACKAGES", ("torch", "no-such-package-anywhere"))
    assert list(capture().packages) == ["torch"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_name_is_shown_as_a_number() -> None:
    code = """
        from orchestrator.store.provenance.provenance import capture
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            os.environ.pop(name, None)
        capture()  # imports modules that the other user may not read
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


@pytest.mark.parametrize(
    ("checkout", "image", "said"), [(None, "b" * 40, "b" * 40), ("a" * 40, "b" * 40, "a" * 40), (None, "", None)]
)
def test_an_image_without_a_checkout_has_its_commit_from_a_variable(
    checkout: str | None, image: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_commit", lambda: checkout)
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, image)
    assert capture().commit == said
