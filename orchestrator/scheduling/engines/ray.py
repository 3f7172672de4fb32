"""The Ray engine: Tune gets one trainable, its argument a trial id, that returns once; progress is in the store.

What is tried again, and how, is decided as in the local engine: Tune asks for the next attempt and is never told to
repeat one.
"""

import contextlib
import itertools
import logging
import math
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.process_watch import child_named, follow_parent, process_lives, watched
from orchestrator.scheduling.retry import Failure, FailureKind, death, failure_of
from orchestrator.study.sweep import Resources

RESTARTS = 2
"""How often Ray is started again where it dies under a run. Each time that is somebody's doing, not a trial's."""
_PASSED_ON = ("HESSIAN_DYNAMICS_CACHE",)
"""Environment variables that workers on other nodes need too.

None of them holds a secret: Ray shows what it passes on in its logs and pages. Credentials of a storage are in the
environment of the nodes, or in the files of its client there. Which commit a node runs it has to say itself.
"""
_NODES_SECONDS = 5.0
"""So long what is known of the nodes is taken for true."""
_NODE_LABEL = "ray.io/node-id"

# Read by Ray when it is imported.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}
_LOCAL_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",  # nobody else on this machine may run code through our Ray
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what Ray calls having all its ports on the loopback address
}


class _FailedError(Exception):
    """Ends the worker of a trial that failed, and brings the failure to the driver."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def run_ray(
    attempts: Attempts,
    resources: Resources,
    max_concurrent: int | None,
    address: str | None,
    on_start: Callable[[], None],
) -> None:
    """Makes attempts on a Ray cluster, or on one that is started here where there is no address.

    One that was started here and dies is started again.

    Raises:
        ConnectionError: where there is no cluster at the address, or Ray died too often.
        ValueError: where the address is none.
    """
    address = None if address == "local" else address
    if address:
        check_reachable(address)
    for number in range(1 + RESTARTS):
        with cluster(address) as alive:
            if number == 0:
                on_start()
            with watched(alive) as watch:
                _tune(attempts, resources, max_concurrent)
            if not watch.died:
                return
        attempts.lost(Failure(FailureKind.LOST, "Ray died under it", "Ray died"))
    raise ConnectionError(
        f"Ray on this machine died {1 + RESTARTS} times; what is finished is kept, and the same command goes on from "
        "here. Is there memory enough? /tmp/ray/session_latest/logs says more; --engine local does without Ray"
    )


def _tune(attempts: Attempts, resources: Resources, max_concurrent: int | None) -> None:
    from ray import tune
    from ray.tune.progress_reporter import TrialProgressCallback
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.search import Searcher

    job, places, turns = attempts.job, _Places(resources), itertools.count()

    class Next(Searcher):
        """Tune asks it for the next trial whenever there is room for one: an attempt is a trial of Tune's."""

        def suggest(self, trial_id: str) -> Any:
            if attempts.finished:
                return str(Searcher.FINISHED)
            if max_concurrent and attempts.running >= max_concurrent:
                return None
            turn = attempts.next(engine_keeps_alone=resources.gpu > 0)
            if turn is None:
                return None
            avoid = " ".join(sorted(turn.avoid))
            alone = "alone" if turn.alone else ""
            return {"trial_id": turn.trial_id, "alone": alone, "avoid": avoid, "turn": next(turns)}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            pass  # `Ends` is told more

        def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
            pass  # the store knows

        def __reduce__(self) -> tuple[type[object], tuple[()]]:
            return object, ()  # Tune pickles what it could be restored from; it never is

    class LetStart(FIFOScheduler):
        """The process of a trial that has ended goes on with a trial for which none has been starting for long.

        Tune ends the process that was starting for the trial that gets it. In the order of the trials that would be
        the one that has been starting longest: of trials that end sooner than a process starts, a cluster would never
        run more than the first few.
        """

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            live = tune_controller.get_live_trials()
            waiting = [trial for trial in live if trial.status == "PENDING"]
            processes = len(live) - len(waiting) + 1  # the one that is free now, if any is
            choose = max if processes < places.count() else min
            return choose(waiting, key=lambda trial: trial.config["turn"], default=None)

    class Ends(TrialProgressCallback):  # in the place of the one that prints every trial
        def on_trial_result(self, *args: Any, **info: Any) -> None:
            pass

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            attempts.ended(trial.config["trial_id"], None)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            attempts.ended(trial.config["trial_id"], _failure(_error_of(trial.pickled_error_file)))

        def __reduce__(self) -> tuple[type[object], tuple[()]]:
            return object, ()

    def trial(config: dict[str, str]) -> None:
        from ray import get_runtime_context

        follow_parent()
        failure = job.run(config["trial_id"], get_runtime_context().get_node_id())
        if failure is not None:
            # It may leave anything behind, a GPU that no longer answers: Tune ends the process.
            raise _FailedError(failure)

    def place(config: dict[str, str]) -> Any:
        gpu = max(1.0, resources.gpu) if config["alone"] and resources.gpu > 0 else resources.gpu
        bundle = {"CPU": float(resources.cpu), "GPU": float(gpu)}
        avoid = _avoidable(config["avoid"].split(), bundle)
        if not avoid:
            return tune.PlacementGroupFactory([bundle])
        return tune.PlacementGroupFactory([bundle], bundle_label_selector=[{_NODE_LABEL: f"!in({','.join(avoid)})"}])

    scheduler = LetStart()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-ray-") as scratch:
        tune.Tuner(
            tune.with_resources(trial, place),
            # A new process costs seconds of imports: workers are kept, and reset what a trial sets in its process.
            tune_config=tune.TuneConfig(reuse_actors=True, num_samples=-1, search_alg=Next(), scheduler=scheduler),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=0),  # what is tried again is said by `Attempts`
                callbacks=[Ends()],
                verbose=0,
            ),
        ).fit()


class _Places:
    """How many trials the nodes of the cluster have room for at a time; they may come and go."""

    def __init__(self, resources: Resources) -> None:
        self._bundle = {"CPU": float(resources.cpu), "GPU": float(resources.gpu)}
        self._count, self._until = 0, 0.0

    def count(self) -> int:
        """As of the last few seconds."""
        import ray

        if (now := time.monotonic()) > self._until:
            known = ray.nodes()  # type: ignore[no-untyped-call]
            self._count = sum(_room(node["Resources"], self._bundle) for node in known if node["Alive"])
            self._until = now + _NODES_SECONDS
        return self._count


def _room(resources: dict[str, float], bundle: dict[str, float]) -> int:
    """How many trials with such a bundle fit on a node."""
    return min(math.floor(resources.get(name, 0.0) / amount) for name, amount in bundle.items() if amount > 0)


def _error_of(file: str | None) -> BaseException | None:
    """What Tune has written of a trial's end; it is with the storage, where `get_pickled_error` looks, only later."""
    from ray import cloudpickle

    try:
        error = cloudpickle.loads(Path(file).read_bytes()) if file else None
    except OSError:
        return None
    return error if isinstance(error, BaseException) else None


def _failure(error: BaseException | None) -> Failure:
    """What Tune says of a trial that did not return."""
    import ray

    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    if isinstance(cause, _FailedError):
        return cause.failure
    if isinstance(cause, ray.exceptions.RayActorError) or cause is None:
        text = str(cause or "")
        if "running low on memory" in text:  # Ray's own guard over the memory of a node says so in the message only
            return death(None, killed_for_memory=True)
        if "node has died" in text:
            return Failure(FailureKind.LOST, "its node was lost", "its node was lost")
        return death(None)
    return failure_of(cause)


def _avoidable(nodes: list[str], bundle: dict[str, float]) -> list[str]:
    """Nodes to keep off: all of them, or none where no other could ever do it."""
    import ray

    known = ray.nodes()  # type: ignore[no-untyped-call]
    others = (node for node in known if node["Alive"] and node["NodeID"] not in nodes)
    return nodes if any(_room(node["Resources"], bundle) for node in others) else []


def check_reachable(address: str, patience_seconds: float = 3.0) -> str:
    """Whether something listens at a cluster's address, in a line; Ray itself waits a minute to say that it does not.

    Raises:
        ConnectionError: where nothing listens.
        ValueError: where it is no address.
    """
    if address in ("auto", "local"):
        return f"RAY_ADDRESS {address}: known when a run starts"
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ValueError(f"Ray address {address!r}: expected HOST:PORT, for example 10.0.0.5:6379, or ray://HOST:10001")
    try:
        socket.create_connection((host, port), patience_seconds).close()
    except OSError as error:
        raise ConnectionError(
            f"nothing answers at Ray address {address!r} ({error.strerror or error}); start the cluster there, "
            "correct RAY_ADDRESS, or unset it: then Ray is started here"
        ) from None
    return f"cluster at {address} answers"


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[Callable[[], bool]]:
    """A connection to the cluster at an address, or a cluster of this machine's own; asks whether that still lives.

    Raises:
        ModuleNotFoundError: where Ray is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is None:
        for name, value in _LOCAL_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Ray is not installed: pip install 'hessian-dynamics[sweep]', or run with --engine local"
        ) from None
    for name in ("ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    options = {"address": address} if address else {"address": "local", "include_dashboard": False}
    ray.init(
        **options,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": variables} if address and variables else None,
    )
    try:
        yield process_lives(child_named("raylet")) if address is None else process_lives(None)
    finally:
        ray.shutdown()
