"""What a text tells its reader to type, and what of it there is."""

import os
import re
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("hessian-dynamics"))


def told(text: str) -> dict[str, set[str]]:
    """The commands of hessian-dynamics in a text, each with the options it is given anywhere."""
    found: dict[str, set[str]] = {}
    for command, rest in re.findall(r"(?:hessian-dynamics|driver\.sh) ([a-z]+)\b([^\n`#|]*)", text):
        options = found.setdefault(command, set())
        options |= {word.partition("=")[0].rstrip(".,;:") for word in rest.split() if word.startswith("--")}
    return found


def unknown(command: str, options: set[str]) -> set[str]:
    """Those options that the command does not have. It fails where there is no such command."""
    shown = subprocess.run(
        [COMMAND, command, "--help"], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert shown.returncode == 0, f"{command}: {shown.stderr}"
    return {option for option in options if not re.search(rf"{option}\b", shown.stdout)}
