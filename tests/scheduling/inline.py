"""An engine for tests: runs each attempt in this process, so that no process has to start and import torch."""

from collections.abc import Callable

import pytest

from orchestrator.scheduling.attempts import Attempts


class InlineEngine:
    """Runs attempts one after the other."""

    def run(self, attempts: Attempts, on_start: Callable[[], None] = lambda: None) -> None:
        on_start()
        while (attempt := attempts.wait()) is not None:
            attempts.ended(attempt.trial_id, attempts.job.run(attempt.trial_id))


def use_inline_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the driver run trials in this process, and retry without a pause."""
    monkeypatch.setattr("orchestrator.scheduling.driver.LocalEngine", lambda *arguments: InlineEngine())
    monkeypatch.setattr("orchestrator.scheduling.attempts.pause_seconds", lambda count, jitter: 0.0)
