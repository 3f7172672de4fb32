"""The arguments and options that several commands share, with their help, and the sweep they name."""

from typing import Annotated, Literal

import typer

from orchestrator.scheduling.options import EngineName
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep

SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of one in `sweeps/`.")]
StorageOption = Annotated[
    str, typer.Option("--storage", help="Folder of all results, or s3://BUCKET/PREFIX; sweeps share trials there.")
]
TrackingOption = Annotated[
    str, typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True, help="Where MLflow lies.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value: `--set optimizer.lr=0.1`. Makes another sweep."),
]
EngineOption = Annotated[EngineName, typer.Option(help="Ray, or plain processes of this machine.")]
AddressOption = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster; without one, Ray is started here.")
]
Source = Literal["store", "mlflow"]
SourceOption = Annotated[Source, typer.Option("--from", help="Where the numbers are read: the storage, or MLflow.")]
ConcurrencyOption = Annotated[int | None, typer.Option(min=1, help="At most so many trials at a time.")]

BudgetOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="After it trials end with their epoch: `2h`, `1h30m`, `90s`.")
]


def stored_or_loaded(sweep: str, store: Storage) -> Sweep:
    """The sweep as it was last run, or as its file says where it never was."""
    return store.sweep(sweep).read_manifest()[0] if sweep in store.sweeps() else load_sweep(sweep)
