"""Whether `trial --compare` finds every bit again, with every optimizer."""

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.harness.results import Result, begin, finish
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown
from benchmarks.sweeps.workplace import Workplace
from orchestrator.scheduling.driver import run_sweep
from orchestrator.scheduling.options import RunOptions
from orchestrator.study.optimizer_config import (
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    Optimizer,
    RmspropConfig,
    SgdConfig,
)

NAME = "reproducibility"
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
class Sizes:
    """How much is computed."""

    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    epochs: int = 2
    folder_images: int = 2000
    """So many training images of an image folder, for one epoch."""
    fraction: float = 0.1
    """Of the training images, measured after every epoch."""


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(),
    "quick": Sizes(optimizers=("sgd", "adam"), epochs=1),
    "tiny": Sizes(optimizers=("sgd",), epochs=1, folder_images=20, fraction=0.01),
}


def run(settings: Settings) -> Result:
    """Runs a trial of every optimizer into a storage, then each again in a process of its own, compared."""
    machine, sizes = begin(NAME, settings), SIZES[settings.scale]
    found = {"digits": _compare({"name": "digits"}, sizes)}
    if settings.data is not None:
        folder = {"name": "image_folder", "path": str(settings.data), "train_subset": sizes.folder_images}
        found[f"{sizes.folder_images:,} images of the {settings.data_name}"] = _compare(
            folder, replace(sizes, epochs=1)
        )
    return finish(NAME, settings, machine, {"epochs": sizes.epochs, "compared": found})


def table(result: Result) -> str:
    """Numbers compared and whether all are identical, by optimizer and data."""
    rows = [
        [optimizer, data, f"{found['numbers']:,}" if found["numbers"] else "", found["outcome"]]
        for data, optimizers in result.measured["compared"].items()
        for optimizer, found in optimizers.items()
    ]
    return markdown(["optimizer", "data", "numbers compared", "identical"], rows, text=2)


def _compare(data: dict[str, Any], sizes: Sizes) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        place = Workplace(Path(scratch), _content(data, sizes))
        # Without a tracker. What fails is seen in the comparison.
        run_sweep(place.sweep, place.storage, Console(quiet=True), RunOptions("local"))
        found = {}
        for name, trial_id in zip(sizes.optimizers, place.sweep.by_id, strict=True):
            found[name] = outcome(*place.call("trial", trial_id, "--compare"))
            say(f"  {data['name']}, {name}: {found[name]['outcome']}, {found[name]['numbers']} numbers")
    return found


def outcome(code: int, said: str) -> dict[str, Any]:
    """What `trial --compare` said: how many numbers it compared, and yes, no, or why it could not."""
    same = re.search(r"identical: all (\d+) numbers", said)
    if code == 0 and same:
        return {"outcome": "yes", "numbers": int(same[1]), "said": ""}
    if "differ, first epoch" in said:
        return {"outcome": "**no**", "numbers": 0, "said": said}
    return {"outcome": "**failed**", "numbers": 0, "said": said}


def _content(data: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    return {
        "name": "reproducibility",
        "trial": {
            "data": data,
            "optimizer": OPTIMIZERS[sizes.optimizers[0]].model_dump(),
            "epochs": sizes.epochs,
            "measurement": {"fraction": sizes.fraction},
        },
        "grid": {"optimizer": [OPTIMIZERS[name].model_dump() for name in sizes.optimizers]},
    }
