"""Downloads from servers on loopback: a file is complete and checked, or absent."""

import hashlib
import os
import platform
from pathlib import Path

import pytest

from orchestrator.training.data.images.published_file import PublishedFile
from orchestrator.training.data.samples import DataError
from tests.training.published import Server, closed_address

CONTENT = os.urandom(300_000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "file").write_bytes(CONTENT)
    return tmp_path / "mine"


def published(folder: Path, *addresses: str, content: bytes = CONTENT) -> PublishedFile:
    urls = tuple(f"{address}/file" for address in addresses)
    return PublishedFile(folder / "deep" / "file", urls, hashlib.md5(content).hexdigest())


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_file_is_downloaded_from_the_first_server_that_has_it(folder: Path) -> None:
    with Server(folder.parent / "server") as server, Server(folder.parent) as without:
        file = published(folder, closed_address(), without.address, server.address)
        assert not file.is_present()
        file.download()
        assert (without.asked, server.asked) == (["/file"], ["/file"])
    assert file.is_present()
    assert file.path.read_bytes() == CONTENT
    assert files(folder) == [file.path]


def test_an_incomplete_or_wrong_file_is_not_kept(folder: Path) -> None:
    with Server(folder.parent / "server", keep_back=100) as incomplete, Server(folder.parent / "server") as wrong:
        with pytest.raises(DataError, match="/file: the 299,900 bytes received differ in MD5 from the published file$"):
            published(folder, incomplete.address).download()
        with pytest.raises(DataError, match="/file: the 300,000 bytes received differ in MD5"):
            published(folder, wrong.address, content=b"other").download()
    assert files(folder) == []


def test_partial_files_of_killed_downloads_are_removed(folder: Path) -> None:
    with Server(folder.parent / "server") as server:
        file = published(folder, server.address)
        file.path.parent.mkdir(parents=True)
        abandoned = file.path.with_name(f".file.{platform.node()}.0123.partial")
        elsewhere = file.path.with_name(".file.another-machine.0123.partial")
        for part in (abandoned, elsewhere):
            part.write_bytes(b"part")
        file.download()
    assert sorted(files(folder)) == sorted([file.path, elsewhere])


def test_every_failed_server_is_reported(folder: Path) -> None:
    with Server(folder.parent) as without:
        file = published(folder, closed_address(), without.address)
        with pytest.raises(DataError, match=r"^http.*refused.*; http.*/file: HTTP Error 404: File not found$"):
            file.download()


def test_check_reachable_downloads_nothing(folder: Path) -> None:
    with Server(folder.parent / "server") as server, Server(folder.parent) as without:
        published(folder, server.address).check_reachable()
        published(folder, closed_address(), server.address).check_reachable()
        with pytest.raises(DataError, match=r"/file: HTTP Error 404: File not found; http.* refused"):
            published(folder, without.address, closed_address()).check_reachable()
        assert server.asked == without.asked == []
    assert not folder.exists()
