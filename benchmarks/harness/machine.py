"""The machine a number comes from, and how fast it multiplies matrices: what no training loop can beat."""

import os
import platform
import re
from dataclasses import dataclass, replace

import torch

from benchmarks.harness.settings import Scale
from benchmarks.harness.timing import seconds
from orchestrator.store.provenance.provenance import capture

MATRIX_SIZES: dict[Scale, tuple[int, ...]] = {"full": (512, 1024, 2048, 4096), "quick": (512, 1024), "tiny": (64,)}
_SECONDS, _REPEATS = 0.5, 3
"""Each size is repeated for so long and at least so often."""


@dataclass(frozen=True)
class Machine:
    """What was measured on."""

    processor: str
    cores: int
    threads: int
    """That torch used."""
    memory_gib: float
    system: str
    load: float
    """Processes that wanted to run in the minute before: far above 0 means that others disturbed the benchmark."""
    matrix_gflops: dict[str, float]
    """GFLOP/s of float32 products of square matrices, by size: the best of many, before and after the benchmark."""
    gpu: str = ""
    """Its name, where it and not the processor was measured."""

    @property
    def best_gflops(self) -> float:
        """The highest rate of all sizes."""
        return max(self.matrix_gflops.values())

    @property
    def slug(self) -> str:
        """For file names: ``amd-epyc-7763-2-cores``."""
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


def describe(threads: int, scale: Scale, device: torch.device) -> Machine:
    """This machine, now, and how fast a device of it is; sets torch's threads."""
    load = os.getloadavg()[0]
    torch.set_num_threads(threads)
    return Machine(
        processor=capture().processor,
        cores=os.cpu_count() or 1,
        threads=threads,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=platform.platform(),
        load=load,
        matrix_gflops=_matrix_rates(scale, device),
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else "",
    )


def described_again(machine: Machine, scale: Scale, device: torch.device) -> Machine:
    """The machine with the better of its matrix rates then and now: others may have disturbed either."""
    again = _matrix_rates(scale, device)
    return replace(
        machine, matrix_gflops={size: max(rate, again[size]) for size, rate in machine.matrix_gflops.items()}
    )


def _matrix_rates(scale: Scale, device: torch.device) -> dict[str, float]:
    return {str(size): _matrix_rate(size, device) for size in MATRIX_SIZES[scale]}


def _matrix_rate(size: int, device: torch.device) -> float:
    """GFLOP/s of float32 [size, size] @ [size, size]: 2 size^3 operations in the best time of many."""
    a, b, out = (torch.randn(size, size, device=device) for _ in range(3))
    times: list[float] = []
    while len(times) < _REPEATS or sum(times) < _SECONDS:
        times.append(seconds(lambda: torch.mm(a, b, out=out)))
    return 2 * size**3 / min(times) / 1e9
