"""The same sweep by this system and by a script of Ray Tune, MLflow's callback, PyTorch and a library."""

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import CLASSES, random_image_folder
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, spread
from benchmarks.harness.timing import ratio
from benchmarks.race import script
from benchmarks.race.observed import Observed, Tracker, observe
from benchmarks.race.references import reference
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep
from orchestrator.training.checkpoint import load_model
from orchestrator.training.data.datasets import load_data

OURS = "this system"
_MODULES = {"PyHessian": "pyhessian", "hessian-eigenthings": "hessian_eigenthings"}


@dataclass(frozen=True)
class RaceSizes:
    training: int
    """Number of images for training and validation. A tenth of them is for validation."""
    test: int
    epochs: int
    lr: tuple[float, ...] = (0.05, 0.01)
    seed: tuple[int, ...] = (0, 1)
    batch_size: int = 64
    fraction: float = 0.1
    """Fraction of the training images on which the Hessian is measured."""
    rounds: int = 1
    libraries: tuple[str, ...] = ("PyHessian", "hessian-eigenthings")


SIZES: dict[Scale, RaceSizes] = {
    "full": RaceSizes(training=2000, test=1000, epochs=5, rounds=2),
    "quick": RaceSizes(training=500, test=200, epochs=1, seed=(0,)),
    "tiny": RaceSizes(training=60, test=20, epochs=1, lr=(0.05,), seed=(0,), libraries=()),
}


@dataclass(frozen=True)
class Measured:
    """A record: the network, the images it was measured on, and the values."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    lambda_max: float
    trace: float


@dataclass(frozen=True)
class Entrant:
    """A way to compute the sweep."""

    command: Callable[[Path, str], list[str]]
    """A function of the working folder and the address of MLflow."""
    measured: Callable[[Path], Iterator[Measured]]
    """Reads all records from the working folder."""


@dataclass
class Outcome:
    """The cost of an entrant by round, and the relative errors of its values in the first round."""

    costs: list[dict[str, Any]] = field(default_factory=list)
    lambda_max: list[float] = field(default_factory=list)
    trace: list[float] = field(default_factory=list)


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Runs the sweep in each way in turn, and compares the values with references in float64."""
    sizes = SIZES[settings.scale]
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        images = _image_folder(settings.data, Path(scratch) / "images", sizes)
        entrants = {OURS: _ours(images, sizes)}
        entrants |= {f"Ray Tune and {library}": _theirs(images, sizes, library) for library in _installed(sizes)}
        outcomes = {name: Outcome() for name in entrants}
        for number in range(sizes.rounds):
            for name, entrant in entrants.items():
                say(f"  round {number}: {name}")
                folder = Path(scratch) / f"{number}-{name.replace(' ', '-')}"
                folder.mkdir()
                outcomes[name].costs.append(asdict(_run(entrant, folder)))
                if number == 0:
                    _add_errors(outcomes[name], entrant.measured(folder))
    records = len(sizes.lr) * len(sizes.seed) * (sizes.epochs + 1)
    facts = {"training": sizes.training, "test": sizes.test, "epochs": sizes.epochs, "records": records}
    yield {**facts, "outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()}}


def table(result: Result) -> str:
    """Cost and errors by entrant."""
    outcomes = {name: Outcome(**content) for name, content in result.measured["outcomes"].items()}
    header = ["sweep by", "wall, s", "CPU, s", "wall / ours", "CPU / ours", "requests to MLflow"]
    header += ["error of lambda_max", "error of the trace"]
    rows = [[name, *_cells(outcome, outcomes[OURS], name == OURS)] for name, outcome in outcomes.items()]
    measured = result.measured
    return (
        f"{markdown(header, rows)}\n\n{measured['training']:,} training and {measured['test']:,} test images, "
        f"{measured['epochs']} epochs, {measured['records']} records in total. Errors are relative to references in "
        "float64 of each entrant's own networks: median (largest)."
    )


def _cells(outcome: Outcome, ours: Outcome, is_ours: bool) -> list[str]:
    cost = [Observed(**each) for each in outcome.costs]
    base = [Observed(**each) for each in ours.costs]
    wall, cpu = [each.wall_seconds for each in cost], [each.cpu_seconds for each in cost]
    return [
        spread(wall),
        spread(cpu),
        "" if is_ours else str(ratio(wall, [each.wall_seconds for each in base])),
        "" if is_ours else str(ratio(cpu, [each.cpu_seconds for each in base])),
        f"{median(each.requests for each in cost):,.0f}",
        _error(outcome.lambda_max),
        _error(outcome.trace),
    ]


def _error(errors: Sequence[float]) -> str:
    return f"{median(errors):.1e} ({max(errors):.1e})"


def _run(entrant: Entrant, folder: Path) -> Observed:
    tracker = Tracker(folder)
    with tracker.running():
        return observe(entrant.command(folder, tracker.uri), folder, tracker)


def _add_errors(outcome: Outcome, records: Iterator[Measured]) -> None:
    for record in records:
        lambda_max, trace = reference(record.model, record.images, record.labels)
        outcome.lambda_max.append(abs(record.lambda_max / lambda_max - 1))
        outcome.trace.append(abs(record.trace / trace - 1))
    say(f"    errors: lambda_max {_error(outcome.lambda_max)}, trace {_error(outcome.trace)}")


def _ours(images: Path, sizes: RaceSizes) -> Entrant:
    content = {
        "name": "race",
        "trial": {
            "data": {"name": "image_folder", "path": str(images)},
            "optimizer": {"name": "sgd", "lr": sizes.lr[0]},
            "batch_size": sizes.batch_size,
            "epochs": sizes.epochs,
            "measurement": {
                "fraction": sizes.fraction,
                "estimators": ["lanczos", "exact_trace"],
                "lanczos_coarse_fraction": 0.1,
                "lanczos_tolerance": 0.001,
            },
        },
        "grid": {"optimizer.lr": list(sizes.lr), "seed": list(sizes.seed)},
        "keep_checkpoints": "all",
        "resources": {"cpu": 1},
    }

    def command(folder: Path, uri: str) -> list[str]:
        (folder / "race.yaml").write_text(yaml.safe_dump(content))
        return [sys.executable, "-m", "orchestrator.cli", "run", "race.yaml", "--tracking-uri", uri]

    return Entrant(command, _our_records)


def _our_records(folder: Path) -> Iterator[Measured]:
    storage = Storage(folder / "results")
    for trial_id, config in load_sweep(str(folder / "race.yaml")).by_id.items():
        store, data = storage.trial(trial_id), load_data(config.data, torch.device("cpu"))
        images, labels = data.measurement_subset(config.measurement.fraction)
        for commit in store.with_checkpoint(config.records):
            checkpoint, metrics = store.read_checkpoint(commit), commit.record.metrics()
            assert checkpoint is not None
            model = load_model(config, data, torch.device("cpu"), checkpoint)
            yield Measured(model, images, labels, metrics["hessian/lambda_max"], metrics["hessian/trace"])


def _theirs(images: Path, sizes: RaceSizes, library: str) -> Entrant:
    def command(folder: Path, uri: str) -> list[str]:
        given: dict[str, object] = {"library": library, "images": images, "checkpoints": folder / "checkpoints"}
        given |= {"tracking-uri": uri, "batch-size": sizes.batch_size, "epochs": sizes.epochs}
        options = [
            part for key, value in (given | {"fraction": sizes.fraction}).items() for part in (f"--{key}", value)
        ]
        return [sys.executable, script.__file__, *map(str, [*options, "--lr", *sizes.lr, "--seed", *sizes.seed])]

    return Entrant(command, _their_records)


def _their_records(folder: Path) -> Iterator[Measured]:
    for file in sorted((folder / "checkpoints").glob("*.pt")):
        stored = torch.load(file)
        model = script.cnn()
        model.load_state_dict(stored["model"])
        images, labels = stored["measured"]
        yield Measured(model, images, labels, stored["result"]["lambda_max"], stored["result"]["trace"])


def _installed(sizes: RaceSizes) -> list[str]:
    return [library for library in sizes.libraries if importlib.util.find_spec(_MODULES[library])]


def _image_folder(source: Path | None, folder: Path, sizes: RaceSizes) -> Path:
    """Creates an image folder with links to the first images of each class of `source`, or with random images."""
    if source is None:
        return random_image_folder(folder, sizes.training, sizes.test)
    for split, count in (("train", sizes.training), ("test", sizes.test)):
        for place in sorted((source / split).iterdir()):
            target = folder / split / place.name
            target.mkdir(parents=True)
            for file in sorted(place.iterdir())[: count // CLASSES]:
                (target / file.name).symlink_to(file)
    return folder


BENCHMARK = Benchmark("race", measure, table)
