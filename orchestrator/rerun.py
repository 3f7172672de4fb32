"""One trial again, in this process: whether it gives what is stored, bit for bit, and if not, what differs."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from orchestrator.differences import compare
from orchestrator.store.ownership.claims import BY_HAND, Owner
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Resources
from orchestrator.training.models.user_code import importable_from
from orchestrator.trial import run_trial


def rerun(
    config: TrialConfig,
    resources: Resources,
    target: Storage,
    stored: Storage | None,
    console: Console,
    keeps: Callable[[int], bool] = lambda epoch: False,
    owner: Owner = BY_HAND,
) -> bool:
    """Runs a trial into `target` and shows its epochs. With `stored`, whether it gave the same numbers."""
    importable_from(str(Path.cwd()))
    original = stored.trial(config.trial_id) if stored else None
    if original:
        config, resources = _as_stored(config, resources, original)
    again = target.trial(config.trial_id)
    last = original.epochs()[-1] if original and config.schedule_needs_epochs else config.epochs

    def enough() -> bool:
        return last < config.epochs and max(again.epochs(), default=-1) >= last

    run_trial(config, again, resources, enough, lambda record: console.print(line(record)), keeps, owner)
    if original is None or stored is None:
        return True
    comparison = compare(again, original, (target.files, stored.files))
    console.print(comparison.shown(), highlight=False, markup=False)
    return comparison.same


def line(record: EpochRecord) -> str:
    """An epoch in a line: ``epoch 3  loss 0.2713  validation 0.915  lambda_max 11.2  trace 233``."""
    shown = {
        "loss": record.loss_train,
        "validation": record.accuracy_validation,
        "lambda_max": record.hessian_lambda_max,
        "trace": record.hessian_trace,
    }
    return f"epoch {record.epoch:3d}  " + "  ".join(f"{k} {v:.4g}" for k, v in shown.items() if v is not None)


def _as_stored(config: TrialConfig, resources: Resources, original: TrialStore) -> tuple[TrialConfig, Resources]:
    """As many epochs and threads as the stored trial had: the number of threads decides the order of sums.

    Where the schedule stretches over the epochs it keeps them: fewer would be another trial.
    """
    epochs = original.epochs()
    if not epochs:
        raise ValueError(f"trial {config.trial_id} has no stored epochs to compare with; run the sweep first")
    threads = original.attempts()[-1].environment["threads"]
    if not config.schedule_needs_epochs:
        config = config.model_copy(update={"epochs": max(1, epochs[-1])})
    return config, resources.model_copy(update={"cpu": threads})
