"""The ship command and the link to the curves."""

import shlex
from pathlib import Path

import pytest

from orchestrator.tracking.links import ship_command


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://host:5000", "hessian-dynamics ship toy --storage '/a b' --tracking-uri http://host:5000"),
        ("http://me:pw@host", "MLFLOW_TRACKING_URI='http://***@host' hessian-dynamics ship toy --storage '/a b'"),
    ],
)
def test_the_ship_command_can_be_pasted(uri: str, expected: str) -> None:
    command = ship_command(Path("/a b"), "toy", uri)
    assert command == expected
    assert "/a b" in shlex.split(command)
