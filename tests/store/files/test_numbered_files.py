"""Files named by a number."""

from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.files.numbered_files import NumberedFiles


def test_numbers_are_sorted_as_numbers_and_other_names_are_ignored(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path)
    numbered = NumberedFiles(files, "folder", digits=5)
    assert (numbered.numbers(), numbered.newest()) == ([], 0)
    for number in (100_000, 3, 99_999):
        assert numbered.create(number, b"%d" % number)
    for name in ("7.json", "00008.json.bak", "notes.txt", "-0009.json"):
        files.write(f"folder/{name}", b"")
    assert (numbered.numbers(), numbered.newest()) == ([3, 99_999, 100_000], 100_000)
    assert numbered.name(3) == "folder/00003.json"
    assert numbered.path(3) == tmp_path / "folder" / "00003.json"


def test_content_is_created_once_replaced_and_deleted(tmp_path: Path) -> None:
    numbered = NumberedFiles(DiskFiles(tmp_path), "folder", digits=6)
    assert numbered.read(1) is None
    assert numbered.create(1, b"first")
    assert not numbered.create(1, b"second")
    assert numbered.read(1) == b"first"
    numbered.write(1, b"third")
    assert numbered.read(1) == b"third"
    numbered.delete(1)
    assert numbered.numbers() == []
