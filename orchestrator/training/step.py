"""One step of a trial's training."""

from contextlib import nullcontext
from typing import Protocol

from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

from orchestrator.training.cuda.first_convolutions import FirstConvolutions
from orchestrator.training.data.augmentation import Changes
from orchestrator.training.data.datasets import ResidentData


class Step(Protocol):
    """Learns from a batch."""

    def begin_epoch(self, changes: Changes | None) -> None:
        """What is done to the images of the batches to come."""
        ...

    def __call__(self, index: Tensor) -> None:
        """Changes weights, buffers and the optimizer's state.

        Args:
            index: int64 [batch], on the data's device: which training images make up the batch.
        """
        ...


class PlainStep:
    """Kernel by kernel: the batch gathered, changed and normalised, its loss, the gradients, the optimizer."""

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, data: ResidentData) -> None:
        self.model, self.optimizer, self.data = model, optimizer, data
        self._changes: Changes | None = None
        self._on_cuda = data.train.labels.is_cuda

    def begin_epoch(self, changes: Changes | None) -> None:
        """What is done to the images of the batches to come."""
        self._changes = changes

    def __call__(self, index: Tensor) -> None:
        """Takes the step of a batch, with the learning rate that the optimizer has."""
        train = self.data.train
        pixels, labels = train.pixels[index], train.labels[index]
        inputs = self.data.normalise(pixels if self._changes is None else self._changes.of(pixels, index))
        self.optimizer.zero_grad()
        with FirstConvolutions() if self._on_cuda else nullcontext():
            outputs = self.model(inputs)
        cross_entropy(outputs, labels).backward()
        self.optimizer.step()
