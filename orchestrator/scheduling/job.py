"""The job that a worker process runs for a trial. It continues training after the last stored record."""

import logging
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from orchestrator.scheduling.preflight import Requirements, UnfitError
from orchestrator.scheduling.retry import STORAGE_FAILURES, Failure, FailureKind, failure_of
from orchestrator.store.attempt import Attempt
from orchestrator.store.ownership.claims import Owner, SupersededError
from orchestrator.store.provenance.provenance import capture, command_line
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import SweepStore
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Resources, Sweep

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialSnapshot:
    """The progress of a trial at one moment."""

    records: int = 0
    """Number of committed records."""
    attempt: str = ""
    """Name of the last attempt."""
    node: str = ""
    """The node of that attempt, as the engine names its nodes."""


class Job(Protocol):
    """The job that an engine runs for each trial. It is pickled and sent to worker processes."""

    def with_resources(self, resources: Resources) -> "Job":
        """Returns the job with the resources of each trial, which the engine has resolved."""
        ...

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Runs the job for a trial. `node` is the engine's name of the node. Returns the failure, or None."""

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """Returns the progress of a trial. Called in the driver."""

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Records a failed attempt. Called in the driver, since the worker may be dead.

        Args:
            trial_id: the trial.
            before: its progress before the attempt.
            reason: a traceback, or a line.
            why: one line that explains the failure; empty if `reason` explains it.
            failed: whether the trial counts as failed. Otherwise it is continued, now or by the next run.
        """


@dataclass(frozen=True)
class TrainingJob:
    """Trains the trials of a sweep."""

    storage_root: str
    sweep: str
    lease: int = 0
    """Number of the driver's lease. Workers stop training a trial once the sweep has another driver."""
    code_root: str = field(default_factory=os.getcwd)
    """The driver's working folder, from which users' own networks are imported."""
    command: str = field(default_factory=command_line)
    """The driver's command line. A worker's own command line only names Ray."""
    accept_changed_code: bool = False
    """Whether to continue trials although the user's own code changed since."""
    own_code: Mapping[str, str] = field(default_factory=dict)
    """Digests of the modules of the user's own code that the driver imported; empty checks nothing."""
    requirements: Requirements | None = None
    """Requirements that a cluster node must meet before each trial; None on the driver's machine."""
    resources: Resources | None = None
    """Resources of each trial as resolved by the engine; None for the sweep's resources."""

    def with_resources(self, resources: Resources) -> Self:
        """Returns the job with the resources of each trial."""
        return replace(self, resources=resources)

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        """Runs a trial. An exception is returned as the trial's failure."""
        try:
            if self.requirements:
                self.requirements.check(Storage(self.storage_root))
            self._run(trial_id, node)
        except UnfitError as error:
            return Failure(FailureKind.UNFIT, str(error), str(error), node)
        except SupersededError as error:  # not a failure: another attempt is training the trial
            log.warning("trial %s: %s", trial_id, error)
        except Exception as error:
            failure = failure_of(error)
            if failure.kind not in STORAGE_FAILURES:  # the driver logs these in one line, without a traceback
                log.exception("trial %s failed", trial_id)
            return replace(failure, node=node)
        return None

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """Returns the number of committed records, and the last attempt."""
        trial = Storage(self.storage_root).trial(trial_id)
        records, attempts = len(trial.numbers()), trial.attempts()
        return TrialSnapshot(records, attempts[-1].name, attempts[-1].node) if attempts else TrialSnapshot(records)

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Stores how the last attempt ended, for `status` and the tracker."""
        trial = Storage(self.storage_root).trial(trial_id)
        attempts = trial.attempts()
        ended = State.FAILED if failed else State.INTERRUPTED
        reason = f"{reason.rstrip()}\n{why}" if why else reason
        if attempts and attempts[-1].name != before.attempt:
            trial.write_attempt(replace(attempts[-1], ended=ended, reason=reason))
        elif failed:  # the worker died before it could store an attempt
            environment = attempts[-1].environment if attempts else {}
            now, claim = time.time_ns() // 1_000_000, trial.claims.newest_number()
            name = f"{now}-driver"
            trial.write_attempt(Attempt(name, now, before.records, capture(), environment, ended, reason, claim))

    def _run(self, trial_id: str, node: str) -> None:
        from orchestrator.trial import TrialOptions, run_trial  # imports torch, on workers only

        storage, store, sweep, config = self._open(trial_id)
        options = TrialOptions(
            self.resources or sweep.resources,
            stop_requested=lambda: store.stop_requested,
            keeps=sweep.keeps,
            owner=Owner(self.sweep, self.lease),
            node=node,
            command=self.command,
            accept_changed_code=self.accept_changed_code,
        )
        run_trial(config, storage.trial(trial_id), options)

    def _open(self, trial_id: str) -> tuple[Storage, SweepStore, Sweep, TrialConfig]:
        """Opens the storage, reads the sweep, and checks the data on this node.

        Raises:
            UnfitError: if the user's code or the data on this node differs from the driver's, or it lacks the GPU.
        """
        from orchestrator.training.user_code.own_code import code_digests, importable_from, own_code
        from orchestrator.trial import MissingGpuError, data_digest

        importable_from(self.code_root)
        storage = Storage(self.storage_root)
        store = storage.sweep(self.sweep)
        sweep, _ = store.read_manifest()
        config = sweep.by_id[trial_id]
        if self.own_code:
            _check_code(self.own_code, code_digests(own_code(config)))
        if self.requirements:
            resources = self.resources or sweep.resources
            try:
                self.requirements.check_data(config.data, data_digest(config, resources))
            except MissingGpuError as error:
                raise UnfitError(str(error)) from None
        return storage, store, sweep, config


def _check_code(driver: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raises UnfitError if a module of the user's own code differs from the one that the driver imported."""
    changed = [module for module, digest in here.items() if driver.get(module) != digest]
    if changed:
        raise UnfitError(
            f"node {socket.gethostname()}: {', '.join(changed)} differs from what the driver imported; copy the "
            "driver's code there, or, if it was edited during the run, run the same command again"
        )
