"""The folder of Ray's sockets, whose paths must not exceed 107 bytes."""

import socket
from pathlib import Path

import pytest

from orchestrator.scheduling.engines.ray import LONGEST_SOCKET, session_folder


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_is_replaced_exactly_if_a_socket_does_not_fit(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    assert session_folder() is None
    limit = 107 - len(f"/ray/{LONGEST_SOCKET}")
    monkeypatch.setenv(variable, f"/{'x' * (limit - 1)}")
    assert session_folder() is None
    monkeypatch.setenv(variable, f"/{'x' * limit}")
    assert session_folder() == "/tmp/ray"
    monkeypatch.setenv(variable, "/" + "ü" * (limit - 1))  # the limit is in bytes
    assert session_folder() == "/tmp/ray"


def test_the_limit_is_that_of_the_operating_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as fits, socket.socket(socket.AF_UNIX) as too_long:
        fits.bind("x" * 107)
        with pytest.raises(OSError, match="path too long"):
            too_long.bind("y" * 108)
