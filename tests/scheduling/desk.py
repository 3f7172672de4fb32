"""A fake job for the tests of attempts."""

import threading
from dataclasses import dataclass, field

import pytest

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.job import TrialSnapshot
from orchestrator.scheduling.retry import Failure
from orchestrator.study.sweep import Resources


@dataclass
class Desk:
    """A fake job. Tests set its progress, and read the log and the recorded conclusions."""

    captured: pytest.LogCaptureFixture
    epochs: dict[str, int] = field(default_factory=dict)
    noted: list[tuple[str, str, bool]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def said(self) -> list[str]:
        return self.captured.messages

    def with_resources(self, resources: Resources) -> "Desk":
        return self

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        raise AssertionError("nothing runs here")

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        return TrialSnapshot(self.epochs.get(trial_id, 0))

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        self.noted.append((trial_id, why or reason.splitlines()[-1], failed))

    def attempts(self, *trial_ids: str, gpu: bool = False) -> Attempts:
        attempts = Attempts(self, trial_ids, self.stopped.is_set, self.stopped.set, jitter=lambda: 1.0)
        attempts.grant(Resources(gpu=float(gpu)))
        return attempts
