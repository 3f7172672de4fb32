"""The commands in docs/clusters.md exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.commands import mentioned_commands, unknown_options
from tests.docker.deployment import ROOT, compose
from tests.training.folders import make_folder

GUIDE = (ROOT / "docs/clusters.md").read_text()
COMMANDS = mentioned_commands(GUIDE)


def test_there_are_commands() -> None:
    assert {"run", "doctor", "ship", "status", "trial"} <= set(COMMANDS)
    assert {"--cluster", "--storage", "--address"} <= COMMANDS["doctor"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_and_option_exists(command: str) -> None:
    assert not unknown_options(command, COMMANDS[command])


def test_unknown_commands_and_options_are_found() -> None:
    assert unknown_options("run", {"--storage", "--fetch-only"}) == {"--fetch-only"}
    with pytest.raises(AssertionError, match="fetch: "):
        unknown_options("fetch", set())


def test_every_compose_command_names_its_file_and_an_existing_service() -> None:
    lines = [line.strip() for line in re.findall(r"docker compose [^`\n#]*", GUIDE)]
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line)
        assert "docker/compose.yaml" in words, line
        rest = [word for word in words[2:] if not word.startswith("-") and not word.endswith(".yaml")]
        if rest[0] in ("run", "stop", "exec", "logs"):
            assert set(rest[1:]) & set(compose()["services"]), line


def test_the_files_in_the_guide_are_yaml() -> None:
    compose_mps, pod_mps, own = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
    assert set(own["services"]) | set(compose_mps["services"]) <= set(compose()["services"])
    assert set(pod_mps) == {"env", "lifecycle"}


def test_the_command_that_fetches_data_runs(tmp_path: Path) -> None:
    [command] = re.findall(r"^\.venv/bin/python (-c .*)$", GUIDE, re.MULTILINE)
    [option, code] = shlex.split(command)
    images = make_folder(tmp_path / "images")
    trial = f"model: {{name: mlp}}, data: {{name: image_folder, path: {images}}}, optimizer: {{name: sgd, lr: 1}}"
    (tmp_path / "own.yaml").write_text(f"trial: {{{trial}, epochs: 1}}\n")
    environment = {**os.environ, "HESSIAN_DYNAMICS_CACHE": str(tmp_path / "cache")}
    python = [sys.executable, option, code.replace("'paper'", f"'{tmp_path}/own.yaml'")]
    done = subprocess.run(python, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "cache").iterdir())
