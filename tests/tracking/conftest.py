"""One real tracking server for all tests of a session."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.tracking.stored import free_port, start_server, stop_server, wait_until


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    process = start_server(tmp_path_factory.mktemp("server"), port)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: healthy(uri), 60)
        yield uri
    finally:
        stop_server(process)


def healthy(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
