"""Arguments and options that several commands share."""

from typing import Annotated, Literal

import typer

from orchestrator.scheduling.options import EngineName

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
    typer.Option(metavar="TIME", help="Stop trials after their next record once this time has passed: `2h`, `1h30m`."),
]
