"""What a worker does, whichever engine started it: one trial, from where it stands, into the store."""

import logging
import os
import time
from dataclasses import dataclass, field, replace
from typing import Protocol

from orchestrator.scheduling.preflight import Requirements, UnfitError
from orchestrator.scheduling.retry import OF_THE_STORAGE, Failure, FailureKind, failure_of
from orchestrator.store.attempt import Attempt
from orchestrator.store.ownership.claims import Owner, SupersededError
from orchestrator.store.provenance.provenance import capture, command_line
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State

log = logging.getLogger("hessian_dynamics.worker")


@dataclass(frozen=True)
class TrialSnapshot:
    """How far a trial had come."""

    epochs: int = 0
    """Committed."""
    attempt: str = ""
    """The last one."""
    node: str = ""
    """Where that one ran, as the engine names its nodes."""


class Job(Protocol):
    """What an engine does for every trial, in a process of its own: it can be pickled."""

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Does it for one trial, on a node as the engine names it. Says how that failed, if it did."""

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """How far it is with a trial. Called in the driver."""

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Notes how an attempt failed. Called in the driver, since the worker may be dead.

        Args:
            trial_id: whose attempt it was.
            before: how far the trial was before it.
            reason: a traceback, or a line.
            why: the trial is not tried again; empty where the reason says it all, or it is.
            failed: whether the trial has failed; else it is gone on with, now or by the next run.
        """


@dataclass(frozen=True)
class TrainingJob:
    """What a worker needs to know beside a trial's id."""

    storage_root: str
    sweep: str
    lease: int = 0
    """The number of the driver's lease: its workers leave a trial alone once the sweep has another driver."""
    code_root: str = field(default_factory=os.getcwd)
    """The folder in which the driver works: networks of the user's own are imported from there."""
    command: str = field(default_factory=command_line)
    """What started the driver: a worker's own command line is Ray's."""
    requirements: Requirements | None = None
    """What a cluster's node must fulfil before each trial; None on the driver's own machine."""

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Runs a trial. An exception is the trial's failure, noted with its attempt, and none of the engine's."""
        try:
            if self.requirements:
                self.requirements.check(Storage(self.storage_root))
            self._run(trial_id, node)
        except UnfitError as error:
            return Failure(FailureKind.UNFIT, str(error), str(error), node)
        except SupersededError as error:  # nothing has failed: another attempt is at work, or has done it
            log.warning("trial %s: %s", trial_id, error)
        except Exception as error:
            failure = failure_of(error)
            if failure.kind not in OF_THE_STORAGE:  # there the driver's line says it all
                log.exception("trial %s failed", trial_id)
            return replace(failure, node=node)
        return None

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """How many epochs are committed, and the last attempt."""
        trial = Storage(self.storage_root).trial(trial_id)
        attempts = trial.attempts()
        last = attempts[-1] if attempts else None
        return TrialSnapshot(len(trial.epochs()), last.name if last else "", last.node if last else "")

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Notes with the last attempt how it ended: `status` and the tracker's run tell it from there."""
        trial = Storage(self.storage_root).trial(trial_id)
        attempts = trial.attempts()
        ended = State.FAILED if failed else State.INTERRUPTED
        reason = f"{reason.rstrip()}\n{why}" if why else reason
        if attempts and attempts[-1].name != before.attempt:
            trial.write_attempt(replace(attempts[-1], ended=ended, reason=reason))
        elif failed:  # it died before it could say that it began
            environment = attempts[-1].environment if attempts else {}
            now = time.time_ns() // 1_000_000
            first = before.epochs
            claim = trial.claims.newest_number()
            trial.write_attempt(Attempt(f"{now}-driver", now, first, capture(), environment, ended, reason, claim))

    def _run(self, trial_id: str, node: str) -> None:
        from orchestrator.training.models.user_code import importable_from  # torch, on workers only
        from orchestrator.trial import data_digest, run_trial

        importable_from(self.code_root)
        storage = Storage(self.storage_root)
        store = storage.sweep(self.sweep)
        sweep, _ = store.read_manifest()
        config = sweep.by_id[trial_id]
        if self.requirements:
            self.requirements.check_data(config.data, data_digest(config, sweep.resources))
        run_trial(
            config,
            storage.trial(trial_id),
            sweep.resources,
            lambda: store.stop_requested,
            keeps=sweep.keeps,
            owner=Owner(self.sweep, self.lease),
            node=node,
            command=self.command,
        )
