"""Memory of 1 to 8 concurrent trials of the paper's CNN on one machine, by stage of a trial.

Each trial runs in a process of the local engine. The trials wait for one another after each stage, so that all of them
measure at the same time, which needs the most memory. `python -m benchmarks memory --only 4 8` runs two cases and keeps
the stored results of the others.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import random_image_folder
from benchmarks.harness.memory import ProcessMemory
from benchmarks.harness.processes import environment
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown
from benchmarks.sweeps.memory_case import STAGES, MemoryCase, total
from orchestrator.training.data.cache.decoded_copy import CACHE_VARIABLE
from orchestrator.training.data.datasets import source_digest


@dataclass(frozen=True)
class MemorySizes:
    trials: tuple[int, ...]
    steps: int
    products: int = 2
    images: tuple[int, int] = (50_000, 10_000)
    """Number of training and test images if they are random."""


SIZES: dict[Scale, MemorySizes] = {
    "full": MemorySizes((1, 2, 4, 8), 10),
    "quick": MemorySizes((1, 2), 5, images=(5000, 1000)),
    "tiny": MemorySizes((2,), 1, images=(200, 20)),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Runs every number of trials in a new process."""
    sizes = SIZES[settings.scale]
    yield {"steps": sizes.steps, "products": sizes.products}
    with _images(settings, sizes) as images:
        for name, trials in settings.chosen({str(trials): trials for trials in sizes.trials}).items():
            case = _case(trials, images, sizes)
            largest = total([ProcessMemory(**each) for each in case["largest"]])
            say(f"  {name} at a time: {_mib(largest)} MiB")
            yield {name: case}


@contextmanager
def _images(settings: Settings, sizes: MemorySizes) -> Iterator[Path]:
    """Decodes the images of the settings, or random ones, so that no trial has to."""
    with ExitStack() as stack:
        folder = settings.data
        if folder is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-")))
            folder = random_image_folder(scratch / "images", *sizes.images)
            stack.enter_context(environment({CACHE_VARIABLE: str(scratch / "cache")}))
        source_digest(MemoryCase("", 1, str(folder), sizes.steps, sizes.products).trial(0).data, decode=True)
        yield folder


def _case(trials: int, images: Path, sizes: MemorySizes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        case = MemoryCase(scratch, trials, str(images), sizes.steps, sizes.products)
        command = [sys.executable, "-m", "benchmarks.sweeps.memory_case", json.dumps(asdict(case))]
        found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def table(result: Result) -> str:
    """Memory by number of trials at the moment of the largest total, and by stage of a trial."""
    measured = result.measured
    cases = dict(sorted((int(name), case) for name, case in measured.items() if name.isdigit()))
    header = ["trials at a time", "total, MiB", "total per trial", "private, per trial", "shared", "peak of a trial"]
    totals = [_totals_row(trials, case) for trials, case in cases.items()]
    by_stage = ["trials at a time", "stage", "peak of a trial, MiB", "at its end", "private", "shared"]
    stages = [
        _stage_row(trials, stage, cases[trials]["stages"][stage])
        for trials in dict.fromkeys((min(cases), max(cases)))
        for stage in STAGES
    ]
    return (
        f"{markdown(header, totals)}\n\n{markdown(by_stage, stages, text=2)}\n\n"
        "Trials of the sweep `paper`: the CNN, SGD, batches of 64, one thread each. Data: every decoded image has been "
        f"read once. Training: {measured['steps']} steps. Measuring: as many steps, then lambda_max with "
        f"{measured['products']} products of Lanczos and the exact trace, on a tenth of the training images. The total "
        "is the largest sum of proportional set sizes: private memory, and shared memory divided by the number of "
        "processes that share it. Private and shared in the first table are those at this moment. Values of a trial "
        "are means, except the peaks in the first table, which are the largest."
    )


def _totals_row(trials: int, case: dict[str, Any]) -> list[str]:
    largest = [ProcessMemory(**each) for each in case["largest"]]
    together = total(largest)
    private, shared = mean(memory.private for memory in largest), mean(memory.shared for memory in largest)
    peak = max(trial["peak"] for stage in case["stages"].values() for trial in stage)
    return [str(trials), *map(_mib, (together, together / trials, private, shared, peak))]


def _stage_row(trials: int, stage: str, found: list[dict[str, int]]) -> list[str]:
    peak, resident, private = (mean(each[key] for each in found) for key in ("peak", "resident", "private"))
    return [str(trials), stage, *map(_mib, (peak, resident, private, resident - private))]


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f}"


BENCHMARK = Benchmark("memory", measure, table, threads=1)
