"""A training step: its interface and the eager implementation."""

from contextlib import nullcontext
from typing import Protocol

from torch import Tensor, nn, optim

from orchestrator.training.cuda.first_convolutions import FirstConvolutions
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.augmentation import EpochAugmentation
from orchestrator.training.loss import CROSS_ENTROPY, Loss
from orchestrator.training.optimizers.build import Config
from orchestrator.training.optimizers.update import Update


class Step(Protocol):
    """Trains on one batch."""

    def begin_epoch(self, augmentation: EpochAugmentation | None) -> None:
        """Sets the augmentation of the following batches."""
        ...

    def __call__(self, index: Tensor) -> None:
        """Updates weights, buffers and the optimizer's state, at the optimizer's learning rate.

        Args:
            index: int64 [batch], on the data's device: the positions of the batch's training samples.
        """
        ...


class EagerStep:
    """Training step without a CUDA graph.

    Args:
        model: on the device of the data.
        optimizer: optimizer of the model's parameters.
        data: the data set.
        config: config of the optimizer, for SAM and gradient clipping; None: neither.
        loss: the loss of the trial.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        data: DataSplits,
        config: Config | None = None,
        loss: Loss = CROSS_ENTROPY,
    ) -> None:
        self.model, self.optimizer, self.data, self.loss = model, optimizer, data, loss
        self._update = Update(model, optimizer, config)
        self._augmentation: EpochAugmentation | None = None
        self._on_cuda = data.train.targets.is_cuda

    def begin_epoch(self, augmentation: EpochAugmentation | None) -> None:
        """Sets the augmentation of the following batches."""
        self._augmentation = augmentation

    def __call__(self, index: Tensor) -> None:
        """Trains on the samples at these positions."""
        pixels, targets = self.data.train.inputs[index], self.data.train.targets[index]
        if self._augmentation is not None:
            pixels = self._augmentation.apply(pixels, index)
        inputs = self.data.normalise(pixels)

        def loss() -> Tensor:
            with FirstConvolutions() if self._on_cuda else nullcontext():
                outputs = self.model(inputs)
            return self.loss.mean(outputs, targets)

        self._update(loss)
