"""Which trial is tried next, and what becomes of one whose attempt failed: asked by every engine, from any thread."""

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

log = logging.getLogger("hessian_dynamics.attempts")
SAME_ERROR_TRIALS = 3
"""Where so many trials are the first to end, all with the same error, the others would end so too."""
_BAD_NODE_TRIALS = 2
"""A node on which so many trials died, and none committed an epoch since, is avoided."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class PlannedAttempt:
    """An attempt to be made."""

    trial_id: str
    alone: bool = False
    """With nothing beside it on its GPU, or on the machine."""
    avoid: frozenset[str] = frozenset()
    """Nodes on which it should not run, where there are others."""


@dataclass
class _Trial:
    trial_id: str
    alone: bool = False
    due: float = 0.0
    mark: TrialSnapshot = field(default_factory=TrialSnapshot)
    failures: Counter[FailureKind] = field(default_factory=Counter)
    """Since it last committed an epoch."""
    died_on: set[str] = field(default_factory=set)


class Attempts:
    """The trials of a run that are still to be tried.

    Args:
        job: what is done for each.
        trial_ids: in the order in which they begin.
        stopping: whether no further attempt may begin.
        stop: asks the running ones to end after their epoch.
        gpu: whether trials compute on GPUs.
        jitter: a random number from 0 to 1.
    """

    def __init__(
        self,
        job: Job,
        trial_ids: Iterable[str],
        stopping: Callable[[], bool] = lambda: False,
        stop: Callable[[], None] = lambda: None,
        gpu: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.job = job
        self._waiting = deque(_Trial(trial_id) for trial_id in trial_ids)
        self._running: dict[str, _Trial] = {}
        self._stopping = stopping
        self._stop = stop
        self._gpu = gpu
        self._jitter = jitter
        self._lock = threading.RLock()
        self._first_ends: list[Failure | None] = []
        self._dead_on: defaultdict[str, set[str]] = defaultdict(set)
        """Trials that died on a node since one last committed an epoch there."""
        self._unfit: set[str] = set()
        """Nodes that said so themselves; they stay so while they run."""
        self._stopped = False

    def __len__(self) -> int:
        """Trials that wait for an attempt."""
        with self._lock:
            return len(self._waiting)

    @property
    def running(self) -> int:
        """Attempts under way."""
        with self._lock:
            return len(self._running)

    @property
    def finished(self) -> bool:
        """Whether no attempt is left to begin, now or later."""
        with self._lock:
            if self._stopped or self._stopping():
                return True
            return not self._waiting and not self._running

    def next(self, engine_keeps_alone: bool = False) -> PlannedAttempt | None:
        """The next attempt, or None where none may begin now.

        Args:
            engine_keeps_alone: whether the engine itself gives a trial that is to be alone a place of its own, so that
                others may run elsewhere meanwhile.
        """
        with self._lock:
            if self.finished:
                return None
            trial = self._choose(engine_keeps_alone)
            if trial is None:
                return None
            self._waiting.remove(trial)
            self._running[trial.trial_id] = trial
            trial.mark = self._mark(trial.trial_id)
            bad = {node for node, trials in self._dead_on.items() if len(trials) >= _BAD_NODE_TRIALS}
            return PlannedAttempt(trial.trial_id, trial.alone, frozenset(trial.died_on | bad | self._unfit))

    def wait(self) -> PlannedAttempt | None:
        """The next attempt, once one may begin; None when none is left."""
        while not self.finished:
            if (turn := self.next()) is not None:
                return turn
            time.sleep(_POLL_SECONDS)
        return None

    def close(self) -> None:
        """Lets no further attempt begin, and asks nobody to stop: the engine ends those under way."""
        with self._lock:
            self._stopped = True

    def lost(self, failure: Failure) -> None:
        """Notes that all attempts under way have ended: the engine itself died."""
        for trial_id in list(self._running):
            self.ended(trial_id, failure)

    def ended(self, trial_id: str, failure: Failure | None) -> None:
        """Notes how an attempt ended: with a failure, or as it should, which a stop is too."""
        with self._lock:
            trial = self._running.pop(trial_id)
            if failure is None:
                if self._dead_on:
                    self._dead_on.pop(self._mark(trial_id).node, None)
                self._note_end(None)
                return
            if not failure.node:
                failure = replace(failure, node=self._mark(trial_id).node)
            self._note_progress(trial, failure.node)
            trial.failures[failure.kind] += 1
            count = trial.failures[failure.kind]
            verdict = decide(failure.kind, count, trial.alone)
            if failure.kind is FailureKind.LOST and failure.node:
                trial.died_on.add(failure.node)
                self._dead_on[failure.node].add(trial_id)
            if failure.kind is FailureKind.UNFIT:
                self._unfit.add(failure.node)
            self._carry_out(trial, failure, verdict, count)

    def _choose(self, engine_keeps_alone: bool) -> _Trial | None:
        now = time.monotonic()
        if any(trial.alone for trial in self._running.values()) and not engine_keeps_alone:
            return None
        beside = [trial for trial in self._waiting if not trial.alone]
        if beside:
            # Those that are to be alone come last: until then there is always somebody beside them.
            return next((trial for trial in beside if trial.due <= now), None)
        if self._running and not engine_keeps_alone:
            return None
        return next((trial for trial in self._waiting if trial.due <= now), None)

    def _carry_out(self, trial: _Trial, failure: Failure, verdict: NextStep, count: int) -> None:
        why = conclusion(failure, verdict, count, self._gpu)
        if verdict in (NextStep.AGAIN, NextStep.ALONE):
            pause = pause_seconds(count, self._jitter()) if verdict is NextStep.AGAIN else 0.0
            trial.due = time.monotonic() + pause
            trial.alone = trial.alone or verdict is NextStep.ALONE
            self._waiting.append(trial)
            how = "alone, when the others are done" if verdict is NextStep.ALONE else f"in {pause:.0f} s"
            log.info(f"trial {trial.trial_id}: {failure.line}; trying again from its last epoch, {how}")
        elif verdict is NextStep.STOP:
            self._stopped = True
            self._stop()
            log.info(f"trial {trial.trial_id}: {failure.line}; stopping, since no other trial can go on either")
        else:
            what = "failed" if verdict is NextStep.FAILED else "left as it stands, the same command goes on with it"
            log.info(f"trial {trial.trial_id}: {why or failure.line}; {what}")
        self._conclude(trial, failure, why, verdict is NextStep.FAILED)
        if verdict is NextStep.FAILED:
            self._note_end(failure)

    def _note_end(self, failure: Failure | None) -> None:
        if self._stopped or len(self._first_ends) >= SAME_ERROR_TRIALS:
            return
        self._first_ends.append(failure)
        signatures = {each.signature if each else None for each in self._first_ends}
        if len(self._first_ends) < SAME_ERROR_TRIALS or len(signatures) > 1 or failure is None:
            return
        self._stopped = True
        self._stop()
        log.info(failure.reason.rstrip())
        log.info(
            f"the first {SAME_ERROR_TRIALS} trials to end all failed with this error, so would the others: stopping; "
            "the same command goes on from here once it is mended"
        )

    def _note_progress(self, trial: _Trial, node: str) -> None:
        mark = self._mark(trial.trial_id)
        if mark.epochs > trial.mark.epochs:
            trial.failures.clear()
            trial.died_on.clear()
            self._dead_on.pop(node, None)

    def _mark(self, trial_id: str) -> TrialSnapshot:
        with contextlib.suppress(OSError):  # a storage that is away: no epoch that anybody knows of
            return self.job.snapshot(trial_id)
        return TrialSnapshot()

    def _conclude(self, trial: _Trial, failure: Failure, why: str, failed: bool) -> None:
        with contextlib.suppress(OSError):  # then its attempt stays open, which reads as interrupted after the run
            self.job.conclude(trial.trial_id, trial.mark, failure.reason, why, failed)
