"""Fixtures of the tests of study. Property tests have no deadline, since the machine may be busy."""

import textwrap
from pathlib import Path

import pytest
from hypothesis import settings

from tests.study.sweep_files import Write

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a sweep file into a new folder. Returns its path."""

    def write(content: str, name: str = "x.yaml") -> str:
        path = tmp_path / name
        path.write_text(textwrap.dedent(content))
        return str(path)

    return write
