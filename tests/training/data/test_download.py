"""A file comes whole or not at all, and what came before a line broke is not asked for again. Servers on loopback."""

import hashlib
import os
import platform
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.training.data.download import DownloadError, download, silence

CONTENT = os.urandom(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Line:
    """A server whose line breaks after so many bytes of every answer."""

    def __init__(self, parts: bool) -> None:
        self.parts = parts
        self.breaks_after: int | None = None
        self.content = CONTENT
        self.asked: list[str | None] = []
        """The Range of every request."""
        line = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                line.asked.append(wanted)
                first = int(wanted[6:-1]) if wanted and parts else 0
                if first >= len(line.content):
                    self.send_error(416)
                    return
                self.send_response(206 if wanted and parts else 200)
                self.send_header("Content-Length", str(len(line.content) - first))
                self.end_headers()
                self.wfile.write(line.content[first:][: line.breaks_after])

            def do_HEAD(self) -> None:
                self.send_response(404 if self.path.endswith("none") else 200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/file"


@pytest.fixture(params=[True, False], ids=["sends parts", "sends no parts"])
def line(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setenv("no_proxy", "*")
    line = Line(request.param)
    threading.Thread(target=line.http.serve_forever, args=(0.02,), daemon=True).start()
    yield line
    line.http.shutdown()
    line.http.server_close()


def left(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


PART = f".file.{platform.node()}.part"


def test_a_broken_line_is_gone_on_with(line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line.breaks_after = 100_000
    with pytest.raises(DownloadError, match=r"http.*: 100,000 of 300,000 bytes came; the next attempt goes on"):
        download(line.url, tmp_path / "file", MD5)
    assert left(tmp_path) == {PART: 100_000}
    line.breaks_after = None
    download(line.url, tmp_path / "file", MD5)
    assert left(tmp_path) == {"file": 300_000}
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert line.asked == [None, "bytes=100000-"]
    assert ("going on after 0.1 MB" in capsys.readouterr().err) == line.parts


def test_what_is_there_whole_but_was_not_checked_is_checked(line: Line, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(CONTENT)
    download(line.url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_beginning_that_is_not_the_files_is_thrown_away(line: Line, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(b"something else")
    if line.parts:
        with pytest.raises(DownloadError, match="what it sent is not the published file, its MD5 differs"):
            download(line.url, tmp_path / "file", MD5)
        assert left(tmp_path) == {}
    download(line.url, tmp_path / "file", MD5)
    assert left(tmp_path) == {"file": 300_000}


def test_what_is_there_is_not_asked_for(line: Line, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    download(line.url, tmp_path / "file", MD5)
    assert line.asked == []


def test_a_server_is_asked_without_a_download(line: Line) -> None:
    assert silence(line.url) is None
    assert silence(f"{line.url}/none") == f"{line.url}/none: HTTP Error 404: Not Found"
    assert line.asked == []
    assert "refused" in str(silence("http://127.0.0.1:9/file"))
