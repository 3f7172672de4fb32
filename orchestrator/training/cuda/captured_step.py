"""The step of training as a CUDA graph: launched at once instead of kernel by kernel, with the same numbers.

A small network's kernels take less time than their launches. A graph is captured once a trial and replayed for every
batch after that; what a step reads beside weights lies in fixed memory: the batch's index, the changes of its images,
the learning rate. Python code of a network runs while its step is captured and never again, so before that the step is
taken twice, plainly and as a graph, and the two must agree to the last bit. A network that waits for the device, draws
on the CPU, keeps count in an attribute, or fails in any way stays with the plain step. One thing nobody can see: code
that looks at a global variable which something else changes. HESSIAN_DYNAMICS_CAPTURE=0 is for that.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import TrialConfig
from orchestrator.training.cuda.training_state import DeviceState, HostState
from orchestrator.training.data.augmentation import Changes
from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.step import PlainStep, Step

CAPTURE_VARIABLE = "HESSIAN_DYNAMICS_CAPTURE"
_PLAIN_FIRST = 2
"""Steps of the full batch size before the capture: in the first the optimizer makes its state, libraries are loaded."""


def training_step(model: nn.Module, optimizer: optim.Optimizer, data: ResidentData, config: TrialConfig) -> Step:
    """How a trial learns from batches: as a graph on CUDA, unless $HESSIAN_DYNAMICS_CAPTURE is 0; plainly elsewhere."""
    plain = PlainStep(model, optimizer, data)
    if data.train.labels.device.type != "cuda" or os.environ.get(CAPTURE_VARIABLE) == "0":
        return plain
    return CapturedStep(plain, config.batch_size, config.model.name)


class _NotCapturedError(Exception):
    """Why a step is no graph."""


class CapturedStep:
    """A plain step until it can be a graph, then the graph for full batches. An epoch's last batch stays plain.

    Args:
        plain: the step.
        batch_size: of full batches.
        name: of the model, as it is named where it cannot be captured.
    """

    def __init__(self, plain: PlainStep, batch_size: int, name: str) -> None:
        self._plain, self._name = plain, name
        self._device = plain.data.train.labels.device
        self._index = torch.zeros(batch_size, dtype=torch.int64, device=self._device)
        self._changes: Changes | None = None
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._refused = False

    @property
    def is_graph(self) -> bool:
        """Whether full batches are replayed."""
        return self._graph is not None

    def begin_epoch(self, changes: Changes | None) -> None:
        """What is done to the images of the batches to come: copied to where the graph reads it."""
        if self._changes is None or changes is None:
            self._changes = changes
            self._plain.begin_epoch(changes)
        else:
            self._changes.flip.copy_(changes.flip)
            self._changes.offset.copy_(changes.offset)

    def __call__(self, index: Tensor) -> None:
        """Takes the step of a batch."""
        if len(index) != len(self._index) or self._refused:
            self._plain(index)
        elif self._graph is not None:
            self._index.copy_(index)
            self._graph.replay()
        elif self._steps < _PLAIN_FIRST:
            self._steps += 1
            self._plain(index)
        else:
            self._index.copy_(index)
            self._graph = self._tried()
            if self._graph is None:
                self._refused = True
                self._plain(index)

    def _tried(self) -> torch.cuda.CUDAGraph | None:
        """The graph, after it has taken the step; None where it cannot be, with everything as it was before."""
        before = DeviceState(self._plain.model, self._plain.optimizer, self._device)
        host = None
        try:
            host = HostState(self._plain.model)
            stream = torch.cuda.Stream(self._device)
            self._rehearse(stream, host)
            plainly = DeviceState(self._plain.model, self._plain.optimizer, self._device)
            before.restore()
            graph = self._captured(stream)
            graph.replay()
            if host.changes() or not plainly.holds():
                raise _NotCapturedError("a graph of it gives other numbers")
        except Exception as error:  # A trial never fails of this: what the plain step cannot do either, it will say.
            before.restore()
            if host is not None:
                host.restore()
            self._say(error)
            return None
        return graph

    def _rehearse(self, stream: torch.cuda.Stream, host: HostState) -> None:
        """A plain step on the stream of the capture, in which nothing may wait for the device."""
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream), _waiting_refused():
            self._plain(self._index)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        if reason := host.changes():
            raise _NotCapturedError(reason)

    def _captured(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        try:
            # Around it: a capture that fails leaves its stream the current one.
            here = torch.cuda.stream(torch.cuda.current_stream(self._device))
            with here, torch.cuda.graph(graph, pool=pool, stream=stream):
                self._plain(self._index)
        except Exception:
            _mend(self._device, pool)
            raise
        return graph

    def _say(self, error: Exception) -> None:
        cause: BaseException = error
        while cause.__context__ is not None:  # the first is why, what follows is how the capture ended
            cause = cause.__context__
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        print(
            f"the training step of model {self._name} is launched kernel by kernel, slower and with the same numbers, "
            f"as it cannot be a CUDA graph: {reason}",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Within, whatever waits for the device raises RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the mode, that it does not notice everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _mend(device: torch.device, pool: tuple[int, int]) -> None:
    """After a capture that failed: the allocator and the device's generator may believe that it goes on."""
    with suppress(Exception):  # where it knows better
        torch._C._cuda_endAllocateToPool(device.index, pool)
    generator = torch.cuda.default_generators[device.index]
    generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
