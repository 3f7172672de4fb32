"""One real tracking server for all tests."""

import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared import made_once
from tests.tracking.processes import LineHandler, free_port, start_server, wait_until


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, blank_database: Path) -> str:
    """The address of a tracking server that all tests share, so their sweeps need different names."""

    def make(folder: Path) -> None:
        shutil.copy(blank_database, folder / "server.db")
        port = free_port()
        (folder / "uri").write_text(f"http://127.0.0.1:{port}")
        (folder / "group").write_text(str(start_server(folder, port).pid))
        wait_until(lambda: healthy((folder / "uri").read_text()))

    return (made_once(tmp_path_factory, "server", make) / "uri").read_text()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The messages that tracking logs in this process."""
    handler = LineHandler([])
    log = logging.getLogger("orchestrator")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler.lines
    log.removeHandler(handler)
    log.setLevel(level)


def healthy(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
