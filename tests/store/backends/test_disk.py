"""File operations on a disk. Readers never see a partial file, even if its writer is killed."""

import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.errors import StorageError
from tests.store.stored import files_in, python, running


@pytest.fixture
def files(tmp_path: Path) -> DiskFiles:
    return DiskFiles(tmp_path / "storage")


def test_written_content_is_read_back(files: DiskFiles) -> None:
    content = bytes(range(256)) * 1000
    files.write("a/b/c", content)
    assert files.read("a/b/c") == content
    files.write("a/b/c", b"")
    assert files.read("a/b/c") == b""
    assert files.list("a/b") == ["c"]


def test_missing_files(files: DiskFiles) -> None:
    assert files.read("a") is None
    assert files.list("a") == []
    files.delete("a")
    assert not files.root.exists(), "reading must not create the folder"


def test_create_succeeds_only_once(files: DiskFiles) -> None:
    assert files.create("a/b", b"first")
    assert not files.create("a/b", b"second")
    assert files.read("a/b") == b"first"
    files.delete("a/b")
    assert files.create("a/b", b"third")


def test_names_are_sorted_and_hidden_files_are_skipped(files: DiskFiles) -> None:
    for name in ("b", "a", "10", "9", ".nfs000012", ".DS_Store"):
        files.write(f"folder/{name}", b"")
    assert files.list("folder") == ["10", "9", "a", "b"]


def test_writing_leaves_no_scratch_files(files: DiskFiles) -> None:
    files.write("a", b"1")
    files.create("b", b"1")
    files.create("b", b"2")
    files.write_in_place("c", b"1")
    assert os.listdir(files.root / ".partial") == []
    assert files.list("") == ["a", "b", "c"]


def test_a_failed_write_leaves_nothing(files: DiskFiles) -> None:
    with pytest.raises(TypeError):
        files.write("a", "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        files.write_in_place("b", "text")  # type: ignore[arg-type]
    assert files.list("") == []
    assert os.listdir(files.root / ".partial") == []


def test_permissions_follow_the_umask(files: DiskFiles) -> None:
    before = os.umask(0o027)
    try:
        files.write("written", b"")
        files.create("created", b"")
    finally:
        os.umask(before)
    for name in ("written", "created"):
        assert stat.S_IMODE((files.root / name).stat().st_mode) == 0o640


def test_scratch_files_of_killed_writers_are_deleted_after_a_day(files: DiskFiles) -> None:
    files.write("a", b"1")
    scratch = files.root / ".partial"
    young, old = scratch / "young", scratch / "old"
    for path in (young, old):
        path.write_bytes(b"half a fi")
    os.utime(old, (time.time() - 90_000,) * 2)
    assert files.list("") == ["a"]
    files.write("a", b"2")
    assert files.create("b", b"3")
    assert young.exists()
    assert old.exists()
    files.check_writable()
    assert os.listdir(scratch) == ["young"]
    assert (files.read("a"), files.read("b")) == (b"2", b"3")


def test_create_succeeds_if_the_reply_to_the_first_request_was_lost(tmp_path: Path) -> None:
    """If the reply is lost, NFS repeats the link. The second link fails, although the first one created the file."""

    class Repeating(DiskFiles):
        def _scratch(self, content: bytes) -> Path:
            scratch = super()._scratch(content)
            os.link(scratch, self.root / "a")  # the first request, which succeeded
            return scratch

    files = Repeating(tmp_path)
    assert files.create("a", b"ours")
    assert files.read("a") == b"ours"


def test_a_writer_killed_at_any_moment_leaves_no_torn_file(files: DiskFiles) -> None:
    code = """
        files = DiskFiles(stored.Path(sys.argv[1]))
        print("ready", flush=True)
        number = 0
        while True:
            number += 1
            content = str(number).encode() + b"=" * 300_000 + str(number).encode()
            files.write("written", content)
            files.create(f"created/{number}", content)
            files.delete(f"created/{number - 20}")
    """
    seen = set()
    for pause in (0.0, 0.01, 0.03, 0.05, 0.08):
        with running(code, files.root) as process:
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            process.wait()
        for name in ["written", *(f"created/{name}" for name in files.list("created"))]:
            content = files.read(name)
            if content is not None:
                first, last = content.split(b"=" * 300_000)
                assert first == last
                seen.add(name)
        for name in files.list("created"):
            files.delete(f"created/{name}")
    assert len(seen) > 1, "no writer had written anything"


def test_readers_never_see_a_partial_file(files: DiskFiles) -> None:
    code = """
        files = DiskFiles(stored.Path(sys.argv[1]))
        files.write("a", b"0" * 500_000)
        print("ready", flush=True)
        number = 0
        while True:
            number += 1
            files.write("a", str(number % 10).encode() * 500_000)
    """
    versions = set()
    with running(code, files.root):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            content = files.read("a")
            assert content is not None
            assert len(content) == 500_000
            assert len(set(content)) == 1
            versions.add(content[0])
    assert len(versions) > 1


def test_one_of_eight_concurrent_creates_wins(files: DiskFiles) -> None:
    code = """
        files = DiskFiles(stored.Path(sys.argv[1]))
        for name in range(8):
            codes = each(8, lambda number: 1 if files.create(f"race/{name}", b"%d" % number * 1000) else 0)
            assert sorted(codes) == [0] * 7 + [1], codes
            assert files.read(f"race/{name}") == b"%d" % codes.index(1) * 1000
    """
    python(code, files.root)
    assert files.list("race") == [str(number) for number in range(8)]


def test_create_fails_if_another_process_creates_the_file_just_before(files: DiskFiles) -> None:
    """Another process creates the file just before the system call, so a check beforehand would not help."""
    code = """
        root = stored.Path(sys.argv[1])
        files = DiskFiles(root)
        files.write("b", b"")

        def hook(event, arguments):
            if event in ("os.link", "os.rename") and not (root / "a").exists():
                (root / "a").write_bytes(b"first")

        sys.addaudithook(hook)
        assert not files.create("a", b"second")
        assert files.read("a") == b"first"
    """
    python(code, files.root)


@pytest.mark.parametrize("name", ["", "deeper/storage"])
def test_storage_path_that_is_a_file_is_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    root = tmp_path / "file" / name
    with pytest.raises(StorageError) as caught:
        DiskFiles(root).check_writable()
    assert re.fullmatch(
        re.escape(f"storage {str(root)!r} cannot be written (")
        + r"(Not a directory|File exists)"
        + re.escape("); choose a folder you may write to with --storage, or free space there"),
        str(caught.value),
    )


def test_unreadable_storage_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    files = DiskFiles(tmp_path / "file")
    for path, read in (("trials/a", files.read), ("trials", files.list), ("trials/a", files.age)):
        message = f"{tmp_path}/file/{path} cannot be read (Not a directory); check --storage"
        with pytest.raises(StorageError, match=f"^{re.escape(message)}$"):
            read(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        DiskFiles(tmp_path).read("folder")


def test_the_age_of_a_file_uses_the_clock_of_the_storage(files: DiskFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.age("a") is None
    files.write("a", b"1")
    os.utime(files.root / "a", (time.time() - 90,) * 2)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a host with a wrong clock
    age = files.age("a")
    assert age is not None
    assert 89 < age < 95
    assert os.listdir(files.root / ".partial") == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_missing_write_permission_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"cannot be written \(Permission denied\)"):
        DiskFiles(tmp_path / "storage").check_writable()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_no_partial_file(small_disk: Path) -> None:
    files = DiskFiles(small_disk)
    files.write("a", b"before")
    with pytest.raises(OSError, match="No space left"):
        files.write("a", b"x" * 100_000)
    with pytest.raises(OSError, match="No space left"):
        files.create("b", b"x" * 100_000)
    with pytest.raises(OSError, match="No space left"):
        files.write_in_place("c", b"x" * 100_000)
    assert files.read("a") == b"before"
    assert files_in(small_disk) == ["a"]
    assert os.listdir(small_disk / ".partial") == [], "partial files must not fill the disk"
    files.check_writable()


def test_a_full_storage_is_reported(small_disk: Path) -> None:
    files = DiskFiles(small_disk)
    files.check_writable()
    for filled in range(100):
        try:
            files.write(f"filling/{filled}", b"x" * 4096)
        except StorageError:
            break
    assert 1 < filled < 20
    message = (
        "storage {} cannot be written (No space left on device: {} bytes were to be written, 0 are free); "
        "free space there and run the same command again; what is finished is kept"
    )
    with pytest.raises(StorageError, match=f"^{re.escape(message.format(repr(str(small_disk)), 38))}$"):
        files.check_writable()
    with pytest.raises(StorageError, match=f"^{re.escape(message.format(repr(str(small_disk)), '4,096'))}$"):
        files.write("a", b"x" * 4096)
    files.delete("filling/0")
    files.check_writable()
