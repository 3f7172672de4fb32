"""The Ray engine: Tune gets one trainable, its argument a trial id, that returns once; progress is in the store."""

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from orchestrator.scheduling.worker import Job
from orchestrator.study.sweep import Resources

MAX_DEATHS = 3
"""How often a trial's worker may die before Tune leaves the trial alone."""
_PASSED_ON = ("HESSIAN_DYNAMICS_", "AWS_")
"""Beginnings of the environment variables that workers on other nodes need too."""

# Read by Ray when it is imported.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


def run_ray(
    work: Job,
    trial_ids: list[str],
    resources: Resources,
    max_concurrent: int | None,
    address: str | None,
    on_start: Callable[[], None],
) -> None:
    """Runs trials on a Ray cluster, or on one that is started here where there is no address.

    Raises:
        ConnectionError: where there is no cluster at the address.
    """
    with _cluster(address), tempfile.TemporaryDirectory(prefix="hessian-dynamics-ray-") as scratch:
        from ray import tune
        from ray.tune.progress_reporter import TrialProgressCallback

        on_start()

        class Silent(TrialProgressCallback):  # in the place of the one that prints every trial
            def on_trial_result(self, *args: Any, **info: Any) -> None:
                pass

            on_trial_error = on_trial_complete = on_trial_result

        def trial(config: dict[str, str]) -> None:
            work.run(config["trial_id"])

        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": resources.cpu, "gpu": resources.gpu}),
            param_space={"trial_id": tune.grid_search(trial_ids)},
            # A new process costs seconds of imports: workers are kept, and reset what a trial sets in its process.
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=max_concurrent),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
                callbacks=[Silent()],
                verbose=0,
            ),
        )
        tuner.fit()


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
def _cluster(address: str | None) -> Iterator[None]:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # nobody else on this machine may run code through our Ray
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Ray is not installed: pip install 'hessian-dynamics[sweep]', or run with --engine local"
        ) from None
    for name in ("ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    variables = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    options = {"address": address} if address else {"address": "local", "include_dashboard": False}
    ray.init(
        **options,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": variables} if address and variables else None,
    )
    try:
        yield
    finally:
        ray.shutdown()
