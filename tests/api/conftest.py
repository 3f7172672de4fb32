"""Fixtures for the Python interface."""

from pathlib import Path

import pytest

from tests.cli.command import Command


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs commands in this process, in the test's folder."""
    return Command(tmp_path, monkeypatch, capfd)
