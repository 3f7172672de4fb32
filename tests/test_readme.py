"""What the README says works: its commands, its sweep file, its links, the make targets."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.study.sweep import load_sweep
from tests.commands import COMMAND, told, unknown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = told(README)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_and_option_exists(command: str) -> None:
    assert not unknown(command, COMMANDS[command])


@pytest.mark.parametrize("command", ["plan", "status"])
def test_what_computes_nothing_runs(command: str, tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, command, "quickstart"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "quickstart: 0 of 12 trials done" in done.stdout


def test_the_sweep_file_is_one(tmp_path: Path) -> None:
    (content,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "learning_rate.yaml").write_text(content)
    sweep = load_sweep(str(tmp_path / "learning_rate.yaml"))
    assert (sweep.name, len(sweep.trials), sweep.trials[0].epochs) == ("learning_rate", 8, 70)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_map_names_what_is_there() -> None:
    (tree,) = re.findall(r"```\n(estimators/.*?)```", README, re.DOTALL)
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        folder = ROOT / "orchestrator" if line.startswith("  ") else ROOT
        assert (folder / name).exists(), name


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    for target in ("help", "setup", "sweep", "ui", "test", "slow", "check", "bench"):
        assert re.search(rf"^{target} ", shown, re.MULTILINE), target


def test_what_test_cluster_leaves_out_is_said() -> None:
    shown = subprocess.run(["make", "-n", "test-cluster"], cwd=ROOT, capture_output=True, text=True).stdout
    assert " -rs " in shown


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "sweep: quickstart (the default without a RAY_ADDRESS;"),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, "sweep: paper (the default on a cluster: RAY_ADDRESS is 10.0.0.1:6379;"),
        ({"RAY_ADDRESS": "10.0.0.1:6379", "SWEEP": "laptop"}, 'sweep: laptop"'),
    ],
)
def test_make_sweep_says_which_sweep_and_why(variables: dict[str, str], said: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "SWEEP")}
    shown = subprocess.run(
        ["make", "-n", "sweep"], cwd=ROOT, capture_output=True, text=True, env=environment | variables
    ).stdout
    assert said in shown
    assert f"run {said.split()[1].strip(chr(34))} " in shown
