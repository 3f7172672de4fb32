"""Runs one trial in this process and compares the results with the stored ones."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from orchestrator.differences import compare
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record
from orchestrator.training.user_code.own_code import importable_from
from orchestrator.trial import TrialOptions, run_trial


def rerun(
    config: TrialConfig, target: Storage, options: TrialOptions, console: Console, stored: Storage | None = None
) -> bool:
    """Runs a trial and prints its records.

    Args:
        config: the trial.
        target: the storage that receives the results.
        options: resources, owner and kept checkpoints.
        console: prints each record and the comparison.
        stored: the storage to compare with; None: no comparison.

    Returns:
        Whether every number is the same, bit for bit; True if nothing was compared.

    Raises:
        ValueError: if `stored` has no record of the trial.
    """
    importable_from(str(Path.cwd()))
    again = target.trial(config.trial_id)
    options = replace(options, on_record=lambda record: console.print(line(record)))
    if stored is None:
        run_trial(config, again, options)
        return True
    original = stored.trial(config.trial_id)
    run_trial(*_as_stored(config, again, options, original))
    comparison = compare(again, original, (target.files, stored.files), "epoch" if config.cadence.default else "record")
    console.print(comparison.shown(), highlight=False, markup=False)
    return comparison.same


def line(record: Record) -> str:
    """Formats a record as one line: ``epoch 3  loss 0.2713  validation 0.915  lambda_max 11.2  trace 233``."""
    shown = {
        "loss": record.loss_train,
        "validation": record.accuracy_validation,
        "lambda_max": record.hessian_lambda_max,
        "trace": record.hessian_trace,
    }
    epoch = f"{record.epoch:3d}" if isinstance(record.epoch, int) else f"{record.epoch:.2f} step {record.step}"
    return f"epoch {epoch}  " + "  ".join(f"{k} {v:.4g}" for k, v in shown.items() if v is not None)


def _as_stored(
    config: TrialConfig, again: TrialStore, options: TrialOptions, original: TrialStore
) -> tuple[TrialConfig, TrialStore, TrialOptions]:
    """Returns arguments of `run_trial` for a rerun with the same number of records and threads as the stored trial.

    The number of threads affects the order of summation and so the rounding. If the learning rate schedule depends on
    `epochs`, a smaller value would define another trial. The run then keeps `epochs` and is stopped early.
    """
    numbers = original.numbers()
    if not numbers:
        raise ValueError(f"trial {config.trial_id} has no stored records to compare with; run the sweep first")
    last, threads = numbers[-1], original.attempts()[-1].environment["threads"]
    options = replace(options, resources=options.resources.model_copy(update={"cpu": threads}))
    if not config.records_need_length:
        return config.until(last), again, options
    return config, again, replace(options, until=last)
