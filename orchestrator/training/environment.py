"""The process-wide settings under which a trial computes the same bits every time."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils import deterministic


@dataclass(frozen=True)
class Environment:
    """What the bits of a trial depend on beside its config. Recorded with every attempt."""

    device: str
    """``cpu``, or the name of the GPU."""
    threads: int
    torch: str
    cuda: str | None
    cudnn: str | None = None
    """Its version and the settings that decide which kernels it takes; None on a CPU."""
    vector_instructions: str = ""
    """What torch's kernels use of a CPU: ``AVX512``, ``AVX2``, ...; another set sums in another order."""


def describe(device: torch.device, threads: int) -> Environment:
    """The environment of a trial on a device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    cudnn = torch.backends.cudnn
    settings = (
        f"{cudnn.version()}, TF32 of convolutions {'on' if cudnn.allow_tf32 else 'off'}, "
        f"of matrices {'on' if torch.backends.cuda.matmul.allow_tf32 else 'off'}"
    )
    return Environment(
        name,
        threads,
        torch.__version__,
        torch.version.cuda,
        settings if device.type == "cuda" else None,
        torch.backends.cpu.get_cpu_capability(),
    )


@contextlib.contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Deterministic kernels and a fixed number of threads; a process that runs several trials gets its own back."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with a fixed workspace only
    before = torch.get_num_threads()
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    fill = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # a property torch does not declare
    random = torch.get_rng_state()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    # A debugging aid that writes every new tensor twice.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_rng_state(random)
