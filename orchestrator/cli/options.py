"""Arguments and options that several commands share."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from orchestrator.scheduling.options import EngineName
from orchestrator.store.storage import Storage
from orchestrator.study.expectations.expectation import Expectation
from orchestrator.study.sweep import Sweep, load_sweep, sweep_file

Source = Literal["store", "mlflow"]

SweepArgument = Annotated[
    str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a sweep in `sweeps/` or the storage.")
]
AcceptCodeOption = Annotated[
    bool,
    typer.Option(
        "--accept-changed-code",
        help="Keep and continue stored trials even if your own code changed since. Recorded in their provenance.",
    ),
]
StorageOption = Annotated[
    str,
    typer.Option("--storage", help="Folder for all results, or s3://BUCKET/PREFIX. Identical trials are stored once."),
]
TrackingOption = Annotated[
    str, typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True, help="MLflow's tracking URI.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a value: `--set optimizer.lr=0.1`. This defines a separate sweep, except for `resources`, "
        "`keep_checkpoints`, `description` and `expect`.",
    ),
]
EngineOption = Annotated[EngineName, typer.Option(help="`ray`, or `local` for plain processes on this machine.")]
AddressOption = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="Address of a Ray cluster. By default Ray starts on this machine."),
]
SourceOption = Annotated[Source, typer.Option("--from", help="Read the numbers from the storage or from MLflow.")]
ConcurrencyOption = Annotated[int | None, typer.Option(min=1, help="Maximum number of trials at a time.")]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Stop trials after their current epoch once this time has passed: `2h`, `1h30m`."
    ),
]


def stored_or_loaded(sweep: str, store: Storage) -> Sweep:
    """Returns the sweep as it was last run, or loads its file if it was never run."""
    return store.sweep(sweep).read_manifest()[0] if sweep in store.sweeps() else load_sweep(sweep)


def expectations(sweep: str, stored: Sweep) -> tuple[Expectation, ...]:
    """Returns the expectations in the sweep's file, or those of its last run if no file of this name exists."""
    return load_sweep(sweep).expect if sweep_file(sweep) else stored.expect


def overridden(sweep: str, overrides: Sequence[str] | None, store: Storage) -> Sweep:
    """Loads a sweep with overrides, under the name by which the storage has it, if it was run before.

    A stored sweep without a file in ``sweeps/``, such as one that ``--set`` defined, is read as it was last run.

    Raises:
        ValueError: if there are overrides of a sweep that has no file.
    """
    if not sweep_file(sweep) and sweep in store.sweeps():
        if overrides:
            raise ValueError(
                f"sweep {sweep!r} is stored but has no file in sweeps/, so --set cannot change it; give the path of "
                "its file, and all --set options"
            )
        return store.sweep(sweep).read_manifest()[0]
    return load_sweep(sweep, overrides or (), lambda name: name in store.sweeps())
