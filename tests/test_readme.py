"""The README matches the code: commands, sweep file, links, directory tree, make targets."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.study.sweep import load_sweep
from tests.commands import mentioned_commands, unknown_options

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = mentioned_commands(README)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_and_option_exists(command: str) -> None:
    assert not unknown_options(command, COMMANDS[command])


def test_status_of_a_sweep_that_never_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["status", "quickstart"])
    assert done.exit_code == 0, done.output
    assert "quickstart: 0 of 12 trials done" in done.output


def test_the_sweep_file_is_valid(tmp_path: Path) -> None:
    (content,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "learning_rate.yaml").write_text(content)
    sweep = load_sweep(str(tmp_path / "learning_rate.yaml"))
    assert (sweep.name, len(sweep.trials), sweep.trials[0].epochs) == ("learning_rate", 8, 70)


def test_every_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_folder_in_the_directory_tree_exists() -> None:
    (tree,) = re.findall(r"```\n(estimators/.*?)```", README, re.DOTALL)
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        folder = ROOT / "orchestrator" if line.startswith("  ") else ROOT
        assert (folder / name).exists(), name


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in ("help", "setup", "sweep", "ui", "test", "test-slow", "check", "docs", "bench"):
        assert re.search(rf"^{target} ", shown, re.MULTILINE), target


def test_test_cluster_prints_what_it_skips() -> None:
    shown = subprocess.run(["make", "-n", "test-cluster"], cwd=ROOT, capture_output=True, text=True).stdout
    assert " -rs " in shown


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({}, "sweep: quickstart (the default without a RAY_ADDRESS;"),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, "sweep: paper (the default on a cluster: RAY_ADDRESS is 10.0.0.1:6379;"),
        ({"RAY_ADDRESS": "10.0.0.1:6379", "SWEEP": "laptop"}, 'sweep: laptop"'),
    ],
)
def test_make_sweep_prints_which_sweep_and_why(variables: dict[str, str], line: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "SWEEP")}
    shown = subprocess.run(
        ["make", "-n", "sweep"], cwd=ROOT, capture_output=True, text=True, env=environment | variables
    ).stdout
    assert line in shown
    assert f"run {line.split()[1].strip(chr(34))} " in shown
