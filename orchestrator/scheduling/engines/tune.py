"""Runs attempts as trials of Ray Tune, one Tune trial per attempt. Progress is recorded in the store.

Tune only places the attempts. `Attempts` decides what runs next and what is retried, so Tune never repeats a trial.
Import this module only inside `cluster`, because Ray reads environment variables when it is imported.
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.process_watch import exit_with_parent
from orchestrator.scheduling.engines.ray_nodes import Bundle, Slots, avoidable, bundle_of
from orchestrator.scheduling.job import Job
from orchestrator.scheduling.retry import Failure, FailureKind, death, failure_of
from orchestrator.study.sweep import Resources

_NODE_LABEL = "ray.io/node-id"


class FailedError(Exception):
    """Ends the process of a failed attempt and sends the failure to the driver."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def run_tune(attempts: Attempts, resources: Resources, max_concurrent: int | None) -> None:
    """Runs attempts on the connected Ray cluster until none is left."""
    bundle = bundle_of(resources)
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-ray-") as scratch:
        tune.Tuner(
            tune.with_resources(_trainable(attempts.job), _placement(bundle)),
            tune_config=tune.TuneConfig(
                reuse_actors=True,  # a new process takes seconds to import torch
                num_samples=-1,
                search_alg=AttemptSearcher(attempts, max_concurrent, resources.gpu_share > 0),
                scheduler=SlotFillingScheduler(attempts, Slots(resources)),
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=0),  # `Attempts` retries
                callbacks=[OutcomeCallback(attempts)],
                verbose=0,
            ),
        ).fit()


class _NotSaved:
    """Pickles to an empty object. Tune pickles its components to restore them later, which we never do."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()


class AttemptSearcher(_NotSaved, Searcher):
    """Suggests the next attempt whenever Tune has a free slot."""

    def __init__(self, attempts: Attempts, max_concurrent: int | None, gpu: bool) -> None:
        super().__init__()
        self._attempts = attempts
        self._max_concurrent = max_concurrent
        self._gpu = gpu
        self._order = itertools.count()

    def suggest(self, trial_id: str) -> Any:
        """Returns the config of a Tune trial, or None if no attempt may begin now."""
        if self._attempts.finished:
            return str(Searcher.FINISHED)
        if self._max_concurrent and self._attempts.running >= self._max_concurrent:
            return None
        attempt = self._attempts.next(engine_keeps_alone=self._gpu)
        if attempt is None:
            return None
        return {
            "trial_id": attempt.trial_id,
            "alone": attempt.alone,
            "avoid": " ".join(sorted(attempt.avoid)),
            "order": next(self._order),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing, because `OutcomeCallback` records the outcome."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Saves nothing: the state is in the store."""


class OutcomeCallback(_NotSaved, TrialProgressCallback):
    """Passes the outcome of every Tune trial to `Attempts`. It replaces Tune's callback that prints each trial."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__()
        self._attempts = attempts

    def on_trial_result(self, *args: Any, **info: Any) -> None:
        """Prints nothing."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Reports that an attempt ended without a failure."""
        self._attempts.ended(trial.config["trial_id"], None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Reports that an attempt failed."""
        self._attempts.ended(trial.config["trial_id"], failure_of_trial(_read_error(trial.pickled_error_file)))


class SlotFillingScheduler(_NotSaved, FIFOScheduler):
    """Starts the youngest pending trial until every slot has a process, and then trials in order.

    When a trial ends, Tune gives its process to a pending trial, and stops the process that was starting for that
    trial. With the oldest pending trial this would be the process closest to being ready. If trials were shorter than
    the start of a process, no further process would ever become ready. With the youngest trial, older processes can
    finish starting.
    """

    def __init__(self, attempts: Attempts, slots: Slots) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._attempts = attempts
        self._slots = slots

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Returns the trial that starts next, or None. If the run is stopping, it ends all trials that wait."""
        live = tune_controller.get_live_trials()
        pending = [trial for trial in live if trial.status == "PENDING"]
        if self._attempts.stopping:
            for trial in pending:
                tune_controller.stop_trial(trial)
            return None
        processes = len(live) - len(pending) + 1  # the busy ones, and the one for the trial to choose
        choose = max if processes < self._slots.count() else min
        return choose(pending, key=lambda trial: trial.config["order"], default=None)


def _trainable(job: Job) -> Callable[[dict[str, Any]], None]:
    def run_attempt(config: dict[str, Any]) -> None:
        exit_with_parent()
        failure = job.run(config["trial_id"], ray.get_runtime_context().get_node_id())
        if failure is not None:
            raise FailedError(failure)  # ends the process, because a failure may have corrupted its state

    return run_attempt


def _placement(bundle: Bundle) -> Callable[[dict[str, Any]], Any]:
    def place(config: dict[str, Any]) -> Any:
        gpu = max(1.0, bundle["GPU"]) if config["alone"] and bundle["GPU"] > 0 else bundle["GPU"]
        needed = {**bundle, "GPU": gpu}
        if avoid := avoidable(config["avoid"].split(), needed):
            selector = {_NODE_LABEL: f"!in({','.join(avoid)})"}
            return tune.PlacementGroupFactory([needed], bundle_label_selector=[selector])
        return tune.PlacementGroupFactory([needed])

    return place


def _read_error(file: str | None) -> BaseException | None:
    """Reads the error file of a Tune trial. `get_pickled_error` finds it only after Tune has uploaded it."""
    try:
        error = cloudpickle.loads(Path(file).read_bytes()) if file else None
    except OSError:
        return None
    return error if isinstance(error, BaseException) else None


def failure_of_trial(error: BaseException | None) -> Failure:
    """Classifies the error of a Tune trial. None means that its process died without an error."""
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    if isinstance(cause, FailedError):
        return cause.failure
    if isinstance(cause, ray.exceptions.RayActorError) or cause is None:
        text = str(cause or "")
        if "running low on memory" in text:  # only the message shows that Ray's memory monitor killed it
            return death(None, killed_for_memory=True)
        if "node has died" in text:
            return Failure(FailureKind.LOST, "its node was lost", "its node was lost")
        return death(None)
    return failure_of(cause)
