"""CUDA graph training step: bit-identical to the eager step, with one launch per step instead of one per kernel.

For a small network, launching the kernels takes longer than running them. A graph is captured once per attempt and
replayed for every full batch. Its inputs are in fixed memory: the batch's index, the augmentation, the learning rate.

The network's Python code runs during the capture and never again. To make sure that this is valid, one step is taken
both eagerly and as a graph, and the results must be bit-identical. Training falls back to the eager step if the network
synchronizes with the device, draws random numbers on the CPU, changes an attribute or raises. One case is not detected:
code that reads a global variable which other code changes. Set HESSIAN_DYNAMICS_CAPTURE=0 for such a network.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import TrialConfig
from orchestrator.training.cuda.training_state import DeviceState, HostState
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.augmentation import EpochAugmentation
from orchestrator.training.loss import build_loss
from orchestrator.training.optimizers.build import is_capturable
from orchestrator.training.step import EagerStep, Step

CAPTURE_VARIABLE = "HESSIAN_DYNAMICS_CAPTURE"
_EAGER_FIRST = 2
"""Number of eager full batches before the capture. The first one creates the optimizer's state and loads libraries."""


def training_step(model: nn.Module, optimizer: optim.Optimizer, data: DataSplits, config: TrialConfig) -> Step:
    """Returns a captured step on CUDA if the optimizer allows it and $HESSIAN_DYNAMICS_CAPTURE is not 0.

    Returns an eager step otherwise.
    """
    full_batch = config.batch_size == "full"
    eager = EagerStep(model, optimizer, data, config.optimizer, build_loss(config.loss, data), full_batch)
    on_cuda, wanted = data.train.targets.device.type == "cuda", os.environ.get(CAPTURE_VARIABLE) != "0"
    if not (on_cuda and wanted and is_capturable(config.optimizer)):
        return eager
    return CapturedStep(eager, config.images_per_batch(len(data.train)), config.model.name)


class _NotCapturedError(Exception):
    """A step cannot be captured. The message contains the reason."""


class CapturedStep:
    """Replays a CUDA graph for full batches, after a few eager steps. A smaller last batch of an epoch runs eagerly.

    Args:
        eager: the step to capture.
        batch_size: number of samples in a full batch.
        name: name of the model, for the warning.
    """

    def __init__(self, eager: EagerStep, batch_size: int, name: str) -> None:
        self._eager, self._name = eager, name
        self._device = eager.data.train.targets.device
        self._index = torch.zeros(batch_size, dtype=torch.int64, device=self._device)
        self._augmentation: EpochAugmentation | None = None
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._refused = False

    @property
    def is_graph(self) -> bool:
        """Whether full batches replay a captured graph."""
        return self._graph is not None

    def begin_epoch(self, augmentation: EpochAugmentation | None) -> None:
        """Sets the augmentation of the following batches. It is copied into the memory that the graph reads."""
        if self._augmentation is None or augmentation is None:
            self._augmentation = augmentation
            self._eager.begin_epoch(augmentation)
        else:
            self._augmentation.flip.copy_(augmentation.flip)
            self._augmentation.offset.copy_(augmentation.offset)

    def __call__(self, index: Tensor) -> None:
        """Trains on the samples at these positions."""
        if len(index) != len(self._index) or self._refused:
            self._eager(index)
        elif self._graph is not None:
            self._index.copy_(index)
            self._graph.replay()
        elif self._steps < _EAGER_FIRST:
            self._steps += 1
            self._eager(index)
        else:
            self._index.copy_(index)
            self._graph = self._step_and_capture()
            if self._graph is None:
                self._refused = True
                self._eager(index)

    def _step_and_capture(self) -> torch.cuda.CUDAGraph | None:
        """Takes one step and returns its graph. If the capture fails, undoes the step and returns None."""
        before = DeviceState(self._eager.model, self._eager.optimizer, self._device)
        host = None
        try:
            host = HostState(self._eager.model)
            stream = torch.cuda.Stream(self._device)
            self._rehearse(stream, host)
            expected = DeviceState(self._eager.model, self._eager.optimizer, self._device)
            before.restore()
            graph = self._capture(stream)
            graph.replay()
            if host.changes() or not expected.holds():
                raise _NotCapturedError("the captured step computes different values")
        except Exception as error:  # A failed capture must not end the trial. The eager step raises real errors again.
            before.restore()
            if host is not None:
                host.restore()
            self._warn(error)
            return None
        return graph

    def _rehearse(self, stream: torch.cuda.Stream, host: HostState) -> None:
        """Takes an eager step on the capture stream. Raises if an operation synchronizes with the device."""
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream), _raising_on_sync():
            self._eager(self._index)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        if reason := host.changes():
            raise _NotCapturedError(reason)

    def _capture(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            # A failed capture leaves its own stream current. The outer context manager restores ours.
            current = torch.cuda.stream(torch.cuda.current_stream(self._device))
            with current, torch.cuda.graph(graph, pool=pool, stream=stream):
                self._eager(self._index)
        except Exception:
            _clean_up_failed_capture(self._device, pool)
            raise
        return graph

    def _warn(self, error: Exception) -> None:
        cause: BaseException = error
        while cause.__context__ is not None:  # the first error is the cause; later ones come from ending the capture
            cause = cause.__context__
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        logging.getLogger(__name__).warning(
            "the training step of model %s runs eagerly, which is slower but gives identical results, as it cannot "
            "be captured as a CUDA graph: %s",
            self._name,
            reason,
        )


@contextmanager
def _raising_on_sync() -> Iterator[None]:
    """Makes operations that synchronize with the device raise RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that the mode does not detect everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _clean_up_failed_capture(device: torch.device, pool: tuple[int, int]) -> None:
    # The allocator and the device's generator may still be in capture mode.
    with suppress(Exception):  # the allocator may have ended it already
        torch._C._cuda_endAllocateToPool(device.index, pool)
    generator = torch.cuda.default_generators[device.index]
    generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
