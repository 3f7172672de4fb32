"""The machine of a benchmark, and its rate of matrix products as an upper bound on the rate of training."""

import os
import platform
import re
from dataclasses import dataclass, replace

import torch

from benchmarks.harness.settings import Scale, Settings
from benchmarks.harness.timing import seconds
from orchestrator.store.provenance.provenance import capture

MATRIX_SIZES: dict[Scale, tuple[int, ...]] = {"full": (512, 1024, 2048, 4096), "quick": (512, 1024), "tiny": (64,)}
_LEAST_SECONDS, _LEAST_REPEATS = 0.5, 3


@dataclass(frozen=True)
class Machine:
    processor: str
    cores: int
    threads: int
    """Number of torch threads."""
    memory_gib: float
    system: str
    load: float
    """Load average over the minute before the start. If it is high, other processes disturbed the benchmark."""
    matrix_gflops: dict[str, float]
    """Maps the size of square float32 matrices to GFLOP/s: the higher of the rates before and after the benchmark."""
    gpu: str = ""
    """Name of the GPU; empty if the benchmark ran on the CPU."""

    @property
    def best_gflops(self) -> float:
        return max(self.matrix_gflops.values())

    @property
    def slug(self) -> str:
        """Name in file names, such as ``amd-epyc-7763-2-cores``."""
        if self.gpu:
            return "-".join(re.findall(r"[a-z0-9]+", self.gpu.lower()))
        words = re.sub(r"\(r\)|\(tm\)|cpu|processor|@.*", " ", self.processor.lower())
        return "-".join([*re.findall(r"[a-z0-9]+", words), str(self.cores), "cores"])

    def __str__(self) -> str:
        gpu = f"{self.gpu}, " if self.gpu else ""
        return (
            f"{gpu}{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.threads} threads, "
            f"matrix products at {self.best_gflops:.0f} GFLOP/s"
        )


def describe(settings: Settings) -> Machine:
    """Describes this machine and measures its matrix rates. Sets the number of torch threads."""
    load, device = os.getloadavg()[0], settings.device
    torch.set_num_threads(settings.threads)
    return Machine(
        processor=capture().processor,
        cores=os.cpu_count() or 1,
        threads=settings.threads,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=platform.platform(),
        load=load,
        matrix_gflops=_matrix_rates(settings),
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else "",
    )


def with_best_rates(machine: Machine, settings: Settings) -> Machine:
    """Measures the matrix rates again and keeps the higher ones, because other processes may have disturbed either."""
    now = _matrix_rates(settings)
    return replace(machine, matrix_gflops={size: max(rate, now[size]) for size, rate in machine.matrix_gflops.items()})


def _matrix_rates(settings: Settings) -> dict[str, float]:
    return {str(size): _matrix_rate(size, settings.device) for size in MATRIX_SIZES[settings.scale]}


def _matrix_rate(size: int, device: torch.device) -> float:
    """GFLOP/s of the product of float32 matrices [size, size]: 2 size^3 operations over the shortest time."""
    a, b, out = (torch.randn(size, size, device=device) for _ in range(3))
    times: list[float] = []
    while len(times) < _LEAST_REPEATS or sum(times) < _LEAST_SECONDS:
        times.append(seconds(lambda: torch.mm(a, b, out=out)))
    return 2 * size**3 / min(times) / 1e9
