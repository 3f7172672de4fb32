"""The time that `plan` estimates compared with that of the run, for every shipped sweep and kind of network."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Settings, say
from benchmarks.harness.tables import markdown, number
from benchmarks.sweeps.workplace import workplace
from orchestrator.scheduling.forecast.estimate import estimate
from orchestrator.scheduling.forecast.time_spent import Spent, spending
from orchestrator.scheduling.plan import reconcile
from orchestrator.study.yaml_file import read_yaml

Grid = dict[str, list[Any]]

_ROOT = Path(__file__).parents[2]

_SEEDS: Grid = {"seed": [0, 1]}
_MOMENTUM = {"name": "sgd", "momentum": 0.9, "lr": 0.01}
_MOBILENET = {"name": "torchvision.models:MobileNetV2", "num_classes": 10}


@dataclass(frozen=True)
class PlanCase:
    """A shipped sweep with fewer trials and epochs. Some cases also change the network, the images or Lanczos."""

    sweep: str
    epochs: int
    grid: Grid
    """Replaces the sweep's grid."""
    coarse_start: bool = True
    """Whether Lanczos keeps the sweep's coarse start."""
    train_subset: int | None = None
    """Number of training images; None: that of the sweep."""


CASES = {
    "quickstart": PlanCase("quickstart", 15, {"optimizer.lr": [0.05, 0.01], "batch_size": [32, 64], "seed": [0, 1, 2]}),
    "laptop": PlanCase("laptop", 4, {"optimizer.lr": [0.05, 0.01], "batch_size": [32, 64]}),
    "laptop, Adam": PlanCase("laptop", 4, {"optimizer": [{"name": "adam", "lr": 0.001}], **_SEEDS}),
    "laptop, no coarse start": PlanCase("laptop", 4, _SEEDS, coarse_start=False),
    "learning_rate": PlanCase("learning_rate", 2, {"optimizer.lr": [0.05, 0.01]}),
    "batch_size": PlanCase("batch_size", 2, {"batch_size": [32, 64]}),
    "paper, CNN": PlanCase("paper", 2, {"optimizer": [_MOMENTUM, {"name": "rmsprop", "lr": 0.001}]}),
    "paper_digits": PlanCase("paper_digits", 4, {"optimizer.lr": [0.05, 0.01]}),
    "paper, MLP": PlanCase("paper", 3, {"model": [{"name": "mlp"}], **_SEEDS}),
    "paper, MLP, no coarse start": PlanCase("paper", 3, {"model": [{"name": "mlp"}], **_SEEDS}, coarse_start=False),
    "resnet": PlanCase("resnet", 2, {"model.norm": ["batch", "group"]}),
    "vit": PlanCase("vit", 2, _SEEDS),
    "transformer_sorting": PlanCase("transformer_sorting", 4, _SEEDS),
    "lstm_sorting": PlanCase("lstm_sorting", 4, _SEEDS),
    "text": PlanCase("text", 4, _SEEDS),
    "regression": PlanCase("regression", 30, _SEEDS),
    "own MobileNetV2": PlanCase("paper", 1, {"model": [_MOBILENET], **_SEEDS}, train_subset=500),
}
_SMALL = {"quickstart": PlanCase("quickstart", 1, {"seed": [0]})}
"""The only case at the scales quick and tiny."""


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Estimates each case, then runs it. Without an image folder, only `quickstart` is run."""
    cases = _SMALL if settings.scale != "full" else CASES if settings.data else {"quickstart": CASES["quickstart"]}
    for name, case in settings.chosen(cases).items():
        found = _compare(case, settings.data)
        say(f"  {name}: {found}")
        yield {name: found}


def _compare(case: PlanCase, data: Path | None) -> dict[str, Any]:
    with workplace(content(case, data)) as place:
        load = os.getloadavg()[0]
        expected = estimate(reconcile(place.sweep, place.storage), "local", None, lambda text: nullcontext())
        done = place.call("run", "--engine", "local")
        if done.code:
            raise RuntimeError(f"the run of {case.sweep} failed:\n{done.output}")
        spent = spending(reconcile(place.sweep, place.storage), place.storage).spent
    return {
        "trials": len(expected.trials),
        "epochs": case.epochs,
        "load": load,
        "probe": expected.probe_seconds,
        "estimated": {"run": expected.seconds, **_by_activity(expected.spent)},
        "measured": {"run": done.seconds, **_by_activity(spent)},
    }


def content(case: PlanCase, data: Path | None) -> dict[str, Any]:
    """The content of the sweep file of a case.

    The images of a folder replace CIFAR-10. The text is the documentation of the benchmarks.
    """
    content = read_yaml(_ROOT / f"sweeps/{case.sweep}.yaml")
    trial = content["trial"]
    if trial["data"]["name"] == "cifar10":
        subset = case.train_subset or trial["data"].get("train_subset")
        trial["data"] = {"name": "image_folder", "path": str(data)} | ({"train_subset": subset} if subset else {})
    elif trial["data"]["name"] == "text":
        trial["data"]["path"] = str(_ROOT / "benchmarks/README.md")
    if not case.coarse_start:
        del trial["measurement"]["lanczos_coarse_fraction"]
    trial["epochs"] = case.epochs
    return {**content, "grid": case.grid}


def _by_activity(spent: Spent) -> dict[str, float]:
    return {"training": spent.training, "evaluating": spent.evaluating, "measuring": spent.measuring}


def table(result: Result) -> str:
    """Estimated time over measured time of each case, for the whole run and by activity."""
    rows = []
    for name, case in result.measured.items():
        estimated, measured = case["estimated"], case["measured"]
        ratios = [number(estimated[part] / measured[part]) for part in estimated]
        seconds = [number(case["probe"]), number(estimated["run"]), number(measured["run"])]
        rows.append([name, str(case["trials"]), str(case["epochs"]), *seconds, *ratios])
    header = ["sweep", "trials", "epochs", "probe, s", "estimate, s", "run, s", "estimate / run", "training"]
    return markdown([*header, "evaluating", "measuring"], rows)


BENCHMARK = Benchmark("plan", measure, table)
