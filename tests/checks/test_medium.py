"""The medium of a folder."""

import os
from pathlib import Path

import pytest

from orchestrator.checks.medium import Medium, file_system, folder_medium
from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.errors import StorageError


def test_a_folder_is_tested_and_left_unchanged(tmp_path: Path) -> None:
    medium = folder_medium(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert medium.exists
    assert medium.free_bytes > 0
    assert medium.file_system == file_system(tmp_path)


def test_a_missing_folder_is_not_created(tmp_path: Path) -> None:
    assert not folder_medium(tmp_path / "a" / "b").exists
    assert list(tmp_path.iterdir()) == []


def test_a_medium_is_described_in_one_line() -> None:
    assert str(Medium(True, "nfs4", 1536 * 2**20)) == "writable, 1.5 GiB free, nfs4"
    assert str(Medium(False, "ext4", 5000 * 2**30)) == "writable, will be created, 5,000.0 GiB free, ext4"


def test_the_error_names_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"file cannot be written \(Not a directory\); use a folder you can write"):
        folder_medium(tmp_path / "file" / "results")


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(
        StorageError, match=r"cannot be written \(Operation not permitted\).* use a folder you can write"
    ):
        folder_medium(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_where_two_writers_create_one_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: DiskFiles, name: str, content: bytes) -> bool:
        self.write(name, content)
        return True

    monkeypatch.setattr(DiskFiles, "create", create)
    with pytest.raises(StorageError, match="two writers can both create the same file, so records"):
        folder_medium(tmp_path)


def test_file_system_is_taken_from_the_nearest_visible_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/a / ext4 rw 0 0\nhost:/x /data nfs4 rw 0 0\nb /data/my\\040disk vfat rw 0 0\nc /data xfs rw 0\n"
    )
    found = [file_system(Path(path), mounts) for path in ("/home", "/data/results", "/data/my disk/x", "/database")]
    assert found == ["ext4", "xfs", "vfat", "ext4"]
    assert file_system(Path("/home"), tmp_path / "none") == "unknown"
