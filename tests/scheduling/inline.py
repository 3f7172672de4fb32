"""Runs trials and commands in this process, so that no process has to start and import torch."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.placement import on_this_machine
from orchestrator.study.sweep import Resources


class InlineEngine:
    """Runs attempts one after the other."""

    def __init__(self, resources: Resources, max_concurrent: int | None = None) -> None:
        self._resources = resources

    def run(self, attempts: Attempts, on_start: Callable[[], None] = lambda: None) -> None:
        attempts.grant(on_this_machine(self._resources))
        on_start()
        while (attempt := attempts.wait()) is not None:
            attempts.ended(attempt.trial_id, attempts.job.run(attempt.trial_id))


def use_inline_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the driver run trials in this process, and retry without a pause."""
    monkeypatch.setattr("orchestrator.scheduling.driver.LocalEngine", InlineEngine)
    monkeypatch.setattr("orchestrator.scheduling.attempts.pause_seconds", lambda count, jitter: 0.0)


def invoke(folder: Path, *arguments: str) -> tuple[int, str]:
    """Runs a command in a folder. Returns its exit code and output. Errors that `main` would print give code 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        result = CliRunner().invoke(app, list(arguments))
    if result.exception is None or isinstance(result.exception, SystemExit):
        return result.exit_code, result.output
    return 2, f"{result.output}error: {result.exception}"
