"""Process-wide settings that make a trial bit-reproducible, and a description of its environment."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils import deterministic


@dataclass(frozen=True)
class Environment:
    """The device, threads and libraries that affect the exact results of a trial. Recorded with every attempt."""

    device: str
    """``cpu``, or the name of the GPU."""
    threads: int
    torch: str
    cuda: str | None
    cudnn: str | None = None
    """Version of cuDNN and the settings that affect its choice of kernels; None on a CPU."""
    vector_instructions: str = ""
    """Instruction set of torch's CPU kernels, for example ``AVX2``.

    A different instruction set adds numbers in a different order, which changes the rounding.
    """


def describe(device: torch.device, threads: int) -> Environment:
    """Returns the environment of a trial on a device."""
    on_cuda, cudnn = device.type == "cuda", torch.backends.cudnn
    settings = (
        f"{cudnn.version()}, TF32 of convolutions {'on' if cudnn.allow_tf32 else 'off'}, "
        f"of matrices {'on' if torch.backends.cuda.matmul.allow_tf32 else 'off'}"
    )
    return Environment(
        device=torch.cuda.get_device_name(device) if on_cuda else "cpu",
        threads=threads,
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=settings if on_cuda else None,
        vector_instructions=torch.backends.cpu.get_cpu_capability(),
    )


@contextlib.contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Uses deterministic kernels and a fixed number of threads, and treats subnormal numbers as zero on a CPU.

    Restores the old settings at the end. The first computation of a process should be in this context: threads of
    torch's pool inherit the setting for subnormal numbers from the thread that creates them, and keep it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs a fixed workspace to be deterministic
    before = torch.get_num_threads()
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    fill = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # a property torch does not declare
    random = torch.get_rng_state()
    flushed = _flushes_subnormal_numbers()
    torch.set_flush_denormal(True)  # CPUs compute with them ten times as slowly
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid, which is slow
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_rng_state(random)
        torch.set_flush_denormal(flushed)


def _flushes_subnormal_numbers() -> bool:
    return float(torch.tensor(torch.finfo(torch.float32).tiny) / 2) == 0.0
