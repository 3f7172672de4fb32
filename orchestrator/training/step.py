"""A training step: its interface and the eager implementation."""

from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn, optim

from orchestrator.training.cuda.first_convolutions import FirstConvolutions
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.augmentation import EpochAugmentation
from orchestrator.training.loss import CROSS_ENTROPY, Loss
from orchestrator.training.models.memory_format import trains_in_channels_last
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

    The memory format of images is chosen by the weights at creation, see `trains_in_channels_last`. A resumed trial
    therefore creates the step before it restores its weights.

    Args:
        model: on the device of the data.
        optimizer: optimizer of the model's parameters.
        data: the data set.
        config: config of the optimizer, for SAM and gradient clipping; None: neither.
        loss: the loss of the trial.
        full_batch: whether every batch contains all samples, in the order of the data. On the CPU it is then normalised
            only once, unless it is augmented.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        data: DataSplits,
        config: Config | None = None,
        loss: Loss = CROSS_ENTROPY,
        full_batch: bool = False,
    ) -> None:
        self.model, self.optimizer, self.data, self.loss = model, optimizer, data, loss
        self._update = Update(model, optimizer, config)
        self._augmentation: EpochAugmentation | None = None
        self._on_cuda = data.train.targets.is_cuda
        self._keeps_batch = full_batch and not self._on_cuda
        self._kept: tuple[Tensor, Tensor, int] | None = None
        """Inputs and targets of the full batch, and the version counter of the inputs."""
        first = data.train[:2]
        self._channels_last = trains_in_channels_last(model, data.normalise(first.inputs), first.targets, loss.mean)

    def begin_epoch(self, augmentation: EpochAugmentation | None) -> None:
        """Sets the augmentation of the following batches."""
        self._augmentation = augmentation

    def __call__(self, index: Tensor) -> None:
        """Trains on the samples at these positions."""
        inputs, targets = self._batch(index)

        def loss() -> Tensor:
            with FirstConvolutions() if self._on_cuda else nullcontext():
                outputs = self.model(inputs)
            return self.loss.mean(outputs, targets)

        self._update(loss)

    def _batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the normalised inputs and the targets of the samples at these positions."""
        if self._augmentation is None and self._kept is not None:
            inputs, targets, version = self._kept
            if inputs._version == version:  # the network has not changed its inputs in place
                return inputs, targets
        pixels, targets = self.data.train.inputs[index], self.data.train.targets[index]
        if self._augmentation is not None:
            return self._normalised(self._augmentation.apply(pixels, index)), targets
        inputs = self._normalised(pixels)
        if self._keeps_batch:
            self._kept = inputs, targets, inputs._version
        return inputs, targets

    def _normalised(self, pixels: Tensor) -> Tensor:
        inputs = self.data.normalise(pixels)
        return inputs.contiguous(memory_format=torch.channels_last) if self._channels_last else inputs
