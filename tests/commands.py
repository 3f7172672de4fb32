"""The commands that a text mentions, compared with the commands that exist."""

import re
import sys
from functools import cache
from pathlib import Path

from typer.testing import CliRunner

from orchestrator.cli import app

COMMAND = str(Path(sys.executable).with_name("hessian-dynamics"))


def mentioned_commands(text: str) -> dict[str, set[str]]:
    """The commands of hessian-dynamics in a text, each with all options that the text gives it."""
    found: dict[str, set[str]] = {}
    for command, rest in re.findall(r"(?:hessian-dynamics|driver\.sh) ([a-z]+)\b([^\n`#|]*)", text):
        options = found.setdefault(command, set())
        options |= {word.partition("=")[0].rstrip(".,;:") for word in rest.split() if word.startswith("--")}
    return found


def unknown_options(command: str, options: set[str]) -> set[str]:
    """The options that the command does not have; fails if the command does not exist."""
    shown = _help(command)
    return {option for option in options if not re.search(rf"{option}\b", shown)}


@cache
def _help(command: str) -> str:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, f"{command}: {result.output}"
    return result.output
