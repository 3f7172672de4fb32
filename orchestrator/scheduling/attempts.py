"""Chooses the next trial to attempt and handles failed attempts. Used by every engine."""

import contextlib
import logging
import random
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from orchestrator.scheduling.job import Job, TrialSnapshot
from orchestrator.scheduling.retry import Failure, FailureKind, NextStep, conclusion, decide, pause_seconds
from orchestrator.study.sweep import Resources

log = logging.getLogger(__name__)
SAME_ERROR_TRIALS = 3
"""The run stops once this many trials have ended, if all of them failed with the same error."""
_BAD_NODE_TRIALS = 2
"""A node is avoided after this many trials died on it with no record committed there in between."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class PlannedAttempt:
    """An attempt that an engine should run next."""

    trial_id: str
    alone: bool = False
    """Whether no other trial may run on its GPU or machine at the same time."""
    avoid: frozenset[str] = frozenset()
    """Nodes to avoid if the cluster has others."""


@dataclass
class _Trial:
    trial_id: str
    alone: bool = False
    due: float = 0.0
    begun: TrialSnapshot = field(default_factory=TrialSnapshot)
    """Its progress when its last attempt began."""
    failures: Counter[FailureKind] = field(default_factory=Counter)
    """Number of failures by kind since the trial last committed a record."""
    died_on: set[str] = field(default_factory=set)


class Attempts:
    """The trials of a run that are still to be attempted. Engines call it from any thread.

    Args:
        job: the work to do for each trial.
        trial_ids: the trials, in the order in which they begin.
        stopping: returns True once no further attempt may begin.
        stop: asks running attempts to end after their next record.
        jitter: returns a random number between 0 and 1.
    """

    def __init__(
        self,
        job: Job,
        trial_ids: Iterable[str],
        stopping: Callable[[], bool] = lambda: False,
        stop: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.job = job
        self._waiting = deque(_Trial(trial_id) for trial_id in trial_ids)
        self._running: dict[str, _Trial] = {}
        self._stopping = stopping
        self._stop = stop
        self._gpu = False
        self._jitter = jitter
        self._lock = threading.RLock()
        self._first_ends: list[Failure | None] = []
        self._died_on_node: defaultdict[str, set[str]] = defaultdict(set)
        """Maps a node to the trials that died on it since a trial last committed a record there."""
        self._unfit_nodes: set[str] = set()
        self._closed = False

    def grant(self, resources: Resources) -> None:
        """Sets the resources of all attempts. The engine calls this before the first one begins."""
        self.job = self.job.with_resources(resources)
        self._gpu = resources.gpu_share > 0

    @property
    def stopping(self) -> bool:
        """Whether attempts should end. Those that wait for resources end at once."""
        with self._lock:
            return self._closed or self._stopping()

    def __len__(self) -> int:
        """Number of trials waiting for an attempt."""
        with self._lock:
            return len(self._waiting)

    @property
    def running(self) -> int:
        """Number of attempts in progress."""
        with self._lock:
            return len(self._running)

    @property
    def finished(self) -> bool:
        """Whether no further attempt will begin."""
        with self._lock:
            return self.stopping or (not self._waiting and not self._running)

    def next(self, engine_keeps_alone: bool = False) -> PlannedAttempt | None:
        """Returns the next attempt, or None if none may begin now.

        Args:
            engine_keeps_alone: whether the engine reserves a whole GPU for a trial that must be alone. Other trials
                may then run on other GPUs at the same time.
        """
        with self._lock:
            if self.finished:
                return None
            trial = self._choose(engine_keeps_alone)
            if trial is None:
                return None
            self._waiting.remove(trial)
            self._running[trial.trial_id] = trial
            trial.begun = self._snapshot(trial.trial_id)
            bad = {node for node, trials in self._died_on_node.items() if len(trials) >= _BAD_NODE_TRIALS}
            return PlannedAttempt(trial.trial_id, trial.alone, frozenset(trial.died_on | bad | self._unfit_nodes))

    def wait(self) -> PlannedAttempt | None:
        """Waits for the next attempt. Returns None once none is left."""
        while not self.finished:
            if (attempt := self.next()) is not None:
                return attempt
            time.sleep(_POLL_SECONDS)
        return None

    def close(self) -> None:
        """Prevents further attempts from beginning."""
        with self._lock:
            self._closed = True

    def lost(self, failure: Failure) -> None:
        """Records the same failure for all attempts in progress, because the engine itself died."""
        for trial_id in list(self._running):
            self.ended(trial_id, failure)

    def ended(self, trial_id: str, failure: Failure | None) -> None:
        """Records the end of an attempt. `failure` is None if it completed or stopped on request."""
        with self._lock:
            trial = self._running.pop(trial_id)
            if failure is None:
                if self._died_on_node:
                    self._died_on_node.pop(self._snapshot(trial_id).node, None)
                self._check_first_ends(None)
                return
            if not failure.node:
                failure = replace(failure, node=self._snapshot(trial_id).node)
            self._forgive_if_progressed(trial, failure.node)
            trial.failures[failure.kind] += 1
            if failure.kind is FailureKind.LOST and failure.node:
                trial.died_on.add(failure.node)
                self._died_on_node[failure.node].add(trial_id)
            if failure.kind is FailureKind.UNFIT:
                self._unfit_nodes.add(failure.node)
            self._follow_up(trial, failure)

    def _choose(self, engine_keeps_alone: bool) -> _Trial | None:
        now = time.monotonic()
        if any(trial.alone for trial in self._running.values()) and not engine_keeps_alone:
            return None
        # Trials that must be alone run last, when no other trial is left to run beside them.
        candidates = [trial for trial in self._waiting if not trial.alone]
        if not candidates and (engine_keeps_alone or not self._running):
            candidates = list(self._waiting)
        return next((trial for trial in candidates if trial.due <= now), None)

    def _follow_up(self, trial: _Trial, failure: Failure) -> None:
        count = trial.failures[failure.kind]
        step = decide(failure.kind, count, trial.alone)
        why = conclusion(failure, step, count, self._gpu)
        if step in (NextStep.AGAIN, NextStep.ALONE):
            self._retry(trial, failure, step, count)
        elif step is NextStep.STOP:
            self._stop_all()
            log.info("trial %s: %s; stopping, since no other trial can continue either", trial.trial_id, failure.line)
        else:
            outcome = "failed" if step is NextStep.FAILED else "not finished; run the same command again to continue"
            log.info("trial %s: %s; %s", trial.trial_id, why or failure.line, outcome)
        # If the storage is unreachable, no end is stored. After the run such an attempt counts as interrupted.
        with contextlib.suppress(OSError):
            self.job.conclude(trial.trial_id, trial.begun, failure.reason, why, step is NextStep.FAILED)
        if step is NextStep.FAILED:
            self._check_first_ends(failure)

    def _retry(self, trial: _Trial, failure: Failure, step: NextStep, count: int) -> None:
        pause = pause_seconds(count, self._jitter()) if step is NextStep.AGAIN else 0.0
        trial.due = time.monotonic() + pause
        trial.alone = trial.alone or step is NextStep.ALONE
        self._waiting.append(trial)
        when = "alone, when the others are done" if step is NextStep.ALONE else f"in {pause:.0f} s"
        log.info("trial %s: %s; retrying from its last record, %s", trial.trial_id, failure.line, when)

    def _stop_all(self) -> None:
        self._closed = True
        self._stop()

    def _check_first_ends(self, failure: Failure | None) -> None:
        """Stops the run if the first trials to end all failed with the same error."""
        if self._closed or len(self._first_ends) >= SAME_ERROR_TRIALS:
            return
        self._first_ends.append(failure)
        signatures = {end.signature if end else None for end in self._first_ends}
        if len(self._first_ends) < SAME_ERROR_TRIALS or len(signatures) > 1 or failure is None:
            return
        self._stop_all()
        log.info("%s", failure.reason.rstrip())
        log.info(
            "the first %d trials all failed with this error, so the others would fail too: stopping; fix it and run "
            "the same command again to continue",
            SAME_ERROR_TRIALS,
        )

    def _forgive_if_progressed(self, trial: _Trial, node: str) -> None:
        if self._snapshot(trial.trial_id).records > trial.begun.records:
            trial.failures.clear()
            trial.died_on.clear()
            self._died_on_node.pop(node, None)

    def _snapshot(self, trial_id: str) -> TrialSnapshot:
        with contextlib.suppress(OSError):  # an unreachable storage counts as no progress
            return self.job.snapshot(trial_id)
        return TrialSnapshot()
