"""The context in which models are measured, without autocast and TF32. Everything is restored on exit."""

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# Values of flags that already select float32 arithmetic.
_EXACT: tuple[Any, ...] = ("none", "ieee", False)


@contextmanager
def measuring(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Enables gradients and twice differentiable attention, disables autocast and TF32, and restores all on exit.

    Parts compiled by ``torch.compile`` run as the original Python, since compiled backward passes have no derivative.
    Also restores buffers and the random streams of torch (CPU and ``device``) and ``random``, even after an exception.
    Parameters, ``.grad`` and modes are not changed inside.
    """
    with ExitStack() as stack:
        stack.enter_context(_random_streams_restored(device))
        stack.enter_context(_buffers_restored(model))
        stack.enter_context(_flags_restored(model, device))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        # The flash and memory-efficient attention kernels have no second derivative.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(_without_compilation())
        yield


def _without_compilation() -> AbstractContextManager[object]:
    # torch.compile imports torch._dynamo, which takes seconds. If it is not imported, nothing is compiled.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def _random_streams_restored(device: torch.device) -> Iterator[None]:
    python_state = random.getstate()
    accelerators = [] if device.type == "cpu" else [device]
    try:
        with torch.random.fork_rng(devices=accelerators, device_type=accelerators[0].type if accelerators else "cuda"):
            yield
    finally:
        random.setstate(python_state)


@contextmanager
def _buffers_restored(model: nn.Module) -> Iterator[None]:
    found: list[tuple[nn.Module, str, Tensor, int, Tensor]] = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        for module, name, buffer, version, copy in found:
            module._buffers[name] = buffer
            # Unchanged buffers are not written, since a graph of the caller may have saved them. Versions are not
            # enough: train-mode batch norm updates its running statistics without increasing their version.
            unnoticed = module.training and buffer.layout is torch.strided and not torch.equal(buffer, copy)
            if buffer._version != version or unnoticed:
                with torch.no_grad():
                    buffer.copy_(copy)


@contextmanager
def _flags_restored(model: nn.Module, device: torch.device) -> Iterator[None]:
    changed: list[tuple[Any, str, Any]] = []
    try:
        for owner, name, exact in _flags(model, device):
            value = getattr(owner, name)
            if value not in _EXACT:
                changed.append((owner, name, value))
                setattr(owner, name, exact)
        yield
    finally:
        for owner, name, value in reversed(changed):
            setattr(owner, name, value)


def _flags(model: nn.Module, device: torch.device) -> list[tuple[Any, str, Any]]:
    """(owner, attribute, value while measuring) of the global flags that control arithmetic precision."""
    backends: Any = torch.backends
    if device.type == "cpu":
        owners = [backends.mkldnn.matmul, backends.mkldnn.conv] if hasattr(backends.mkldnn, "matmul") else []
        return [(owner, "fp32_precision", "ieee") for owner in owners]
    if device.type != "cuda":
        return []
    # cuDNN's recurrent kernels have no second derivative.
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    flags: list[tuple[Any, str, Any]] = [(backends.cudnn, "enabled", False)] if recurrent else []
    if hasattr(backends.cuda.matmul, "fp32_precision"):
        owners = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
        return [*flags, *((owner, "fp32_precision", "ieee") for owner in owners)]
    # torch before 2.9.
    return [*flags, (backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False)]
