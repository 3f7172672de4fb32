"""What the provenance of a process contains: code, command, machine and packages, without credentials."""

import hashlib
import os
import platform
import re
import socket
import sys
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.provenance import attachments, provenance
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.provenance.redaction import redacted
from tests.store.stored import python


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
    files = DiskFiles(tmp_path)
    first = capture({"my.nets": b"first\n"})
    assert first.own_code == {"my.nets": hashlib.sha256(b"first\n").hexdigest()}
    provenance.write_attachments(files, first)
    assert attachments.read(files, attachments.OWN_CODE, first.own_code["my.nets"]) == "first\n"
    assert capture().own_code == {}


def test_accepted_code_is_stored_only_if_there_is_some() -> None:
    assert "accepted_code" not in capture({"my.nets": b"x"}).to_json()
    assert capture({"my.nets": b"x"}, accepted_code={"my.nets": "1f"}).to_json()["accepted_code"] == {"my.nets": "1f"}


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
