"""Attachments are stored once, without credentials."""

import hashlib
from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.attachments import DIFF


def test_text_is_stored_once_under_its_digest(tmp_path: Path) -> None:
    files, text = DiskFiles(tmp_path), "+ a change, ä\n"
    digest = attachments.keep(DIFF, text)
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert attachments.read(files, DIFF, digest) is None
    attachments.write(files, DIFF, digest)
    (path,) = (tmp_path / "provenance").iterdir()
    before = path.stat()
    attachments.write(files, DIFF, digest)
    assert path.stat() == before
    assert attachments.read(files, DIFF, digest) == text
    path.unlink()
    attachments.write(files, DIFF, digest)  # the storage was emptied
    assert attachments.read(files, DIFF, digest) == text


def test_nothing_is_stored_for_an_unknown_digest(tmp_path: Path) -> None:
    attachments.write(DiskFiles(tmp_path), DIFF, "0" * 64)
    attachments.write(DiskFiles(tmp_path), DIFF, None)
    assert list(tmp_path.iterdir()) == []
    assert attachments.keep(DIFF, None) is None


def test_a_large_text_is_truncated_with_a_note(tmp_path: Path) -> None:
    text = "".join(f"+line {number}\n" for number in range(100_000))
    digest = attachments.keep(DIFF, text)
    attachments.write(DiskFiles(tmp_path), DIFF, digest)
    stored = attachments.read(DiskFiles(tmp_path), DIFF, digest)
    assert stored is not None
    assert len(stored) < attachments.LARGEST_CHARACTERS + 200
    assert stored.startswith("+line 0\n")
    rest = len(text) - attachments.LARGEST_CHARACTERS
    assert stored.endswith(f"\n[truncated: {rest} more characters; sha256 of the whole: {digest}]\n")
