"""Checks with `trial --compare` that a rerun gives the same bits, for every optimizer."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown
from benchmarks.sweeps.workplace import workplace
from orchestrator.scheduling.driver import run_sweep
from orchestrator.scheduling.options import RunOptions
from orchestrator.study.parts.optimizer_config import (
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    Optimizer,
    RmspropConfig,
    SgdConfig,
)

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SgdConfig(name="sgd", lr=0.05),
    "sgd, momentum": SgdConfig(name="sgd", lr=0.02, momentum=0.9),
    "sgd, Nesterov": SgdConfig(name="sgd", lr=0.02, momentum=0.9, nesterov=True),
    "adam": AdamConfig(name="adam", lr=0.001),
    "adamw": AdamWConfig(name="adamw", lr=0.001),
    "adagrad": AdagradConfig(name="adagrad", lr=0.01),
    "rmsprop": RmspropConfig(name="rmsprop", lr=0.0005),
}


@dataclass(frozen=True)
class ReproducibilitySizes:
    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    epochs: int = 2
    folder_images: int = 2000
    """Number of training images of an image folder, on which trials run for one epoch."""
    fraction: float = 0.1
    """Fraction of the training images that is measured after every epoch."""


SIZES: dict[Scale, ReproducibilitySizes] = {
    "full": ReproducibilitySizes(),
    "quick": ReproducibilitySizes(optimizers=("sgd", "adam"), epochs=1),
    "tiny": ReproducibilitySizes(optimizers=("sgd",), epochs=1, folder_images=20, fraction=0.01),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Runs one trial per optimizer, then reruns each in a subprocess and compares the results."""
    sizes = SIZES[settings.scale]
    compared = {"digits": _compare({"name": "digits"}, sizes)}
    if settings.data is not None:
        folder = {"name": "image_folder", "path": str(settings.data), "train_subset": sizes.folder_images}
        name = f"{sizes.folder_images:,} images of the {settings.data_name}"
        compared[name] = _compare(folder, replace(sizes, epochs=1))
    yield {"epochs": sizes.epochs, "compared": compared}


def table(result: Result) -> str:
    """Number of compared values and whether all are identical, by optimizer and data."""
    rows = [
        [optimizer, data, f"{found['numbers']:,}" if found["numbers"] else "", found["outcome"]]
        for data, optimizers in result.measured["compared"].items()
        for optimizer, found in optimizers.items()
    ]
    return markdown(["optimizer", "data", "numbers compared", "identical"], rows, text=2)


def _compare(data: dict[str, Any], sizes: ReproducibilitySizes) -> dict[str, dict[str, Any]]:
    optimizers = [OPTIMIZERS[name].model_dump() for name in sizes.optimizers]
    content = {
        "name": "reproducibility",
        "trial": {
            "data": data,
            "optimizer": optimizers[0],
            "epochs": sizes.epochs,
            "measurement": {"fraction": sizes.fraction},
        },
        "grid": {"optimizer": optimizers},
    }
    with workplace(content) as place:
        # A failed trial is found by the comparison below.
        run_sweep(place.sweep, place.storage, Console(quiet=True), RunOptions("local"))
        found = {}
        for name, trial_id in zip(sizes.optimizers, place.sweep.by_id, strict=True):
            command = place.call("trial", trial_id, "--compare")
            found[name] = outcome(command.code, command.output)
            say(f"  {data['name']}, {name}: {found[name]['outcome']}, {found[name]['numbers']} numbers")
    return found


def outcome(code: int, output: str) -> dict[str, Any]:
    """Parses the output of `trial --compare`. Keeps the output unless the outcome is yes."""
    same = re.search(r"identical: all (\d+) numbers", output)
    if code == 0 and same:
        return {"outcome": "yes", "numbers": int(same[1]), "said": ""}
    return {"outcome": "**no**" if "differ, first epoch" in output else "**failed**", "numbers": 0, "said": output}


BENCHMARK = Benchmark("reproducibility", measure, table)
