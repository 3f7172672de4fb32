"""Takes the optimizer steps of a trial, in a fixed order that is derived from the seed."""

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import TrialConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.augmentation import draw_augmentation
from orchestrator.training.devices import to_device
from orchestrator.training.loss import build_loss
from orchestrator.training.optimizers.schedules import set_learning_rate
from orchestrator.training.step import EagerStep, Step
from orchestrator.training.streams import NoiseState, derived_seed, noise_state, seed_noise, set_noise_state, stream


class Trainer:
    """Trains a model from one optimizer step of the trial to a later one. Both may be inside an epoch.

    The order of an epoch's samples, their augmentation and the learning rate are functions of seed and step. Dropout
    draws from torch's global generators. They are seeded at the start of an epoch. Inside an epoch their state is
    restored, so the steps do not depend on what happens between two calls.

    Args:
        model: on the device of the data.
        optimizer: optimizer of the model's parameters.
        data: the data set.
        config: config of the trial.
        step: a training step of this model, optimizer and data. The eager step by default.
        done: optimizer steps taken before.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: optim.Optimizer,
        data: DataSplits,
        config: TrialConfig,
        step: Step | None = None,
        done: int = 0,
    ) -> None:
        self.done = done
        self.noise: NoiseState | None = None
        """State of the global generators after these steps, if they ended inside an epoch."""
        self.steps_per_epoch = config.steps_per_epoch(len(data.train))
        self._model, self._optimizer, self._data, self._config = model, optimizer, data, config
        self._device = data.train.targets.device
        loss, full_batch = build_loss(config.loss, data), config.batch_size == "full"
        self._step = step or EagerStep(model, optimizer, data, config.optimizer, loss, full_batch)
        self._batches: tuple[Tensor, ...] = ()

    def train_until(self, last: int) -> None:
        """Takes the steps from `done` until `last` steps are taken.

        On CUDA there is no synchronization within an epoch, except in the epoch that captures the graph.
        """
        self._model.train()
        if self.done < last:
            self._continue_epoch()
        while self.done < last:
            epoch, batch = divmod(self.done, self.steps_per_epoch)
            if batch == 0:
                self._begin_epoch(epoch + 1)
            set_learning_rate(self._optimizer, self._config, self.steps_per_epoch, self.done)
            self._step(self._batches[batch])
            self.done += 1
        self.noise = noise_state(self._device) if self.done % self.steps_per_epoch else None

    def _begin_epoch(self, epoch: int) -> None:
        config, images = self._config, len(self._data.train)
        seed_noise(derived_seed(config.seed, "layer noise", epoch), self._device)
        self._step.begin_epoch(draw_augmentation(config.augmentation, images, config.seed, epoch, self._device))
        order = to_device(_order(config, images, epoch), self._device)
        self._batches = order.split(config.images_per_batch(images))

    def _continue_epoch(self) -> None:
        epoch, batch = divmod(self.done, self.steps_per_epoch)
        if batch == 0:
            return
        if not self._batches:  # a resumed trial
            self._begin_epoch(epoch + 1)
        set_noise_state(self.noise or {}, self._device)


def train_epoch(
    model: nn.Module,
    optimizer: optim.Optimizer,
    data: DataSplits,
    config: TrialConfig,
    epoch: int,
    step: Step | None = None,
) -> None:
    """Trains on all training images once, in a random order seeded by the epoch, or in one full batch.

    Args:
        model: on the device of the data.
        optimizer: optimizer of the model's parameters.
        data: the data set.
        config: config of the trial.
        epoch: counted from 1; seeds the order, the augmentation and dropout.
        step: as in `Trainer`.
    """
    batches = config.steps_per_epoch(len(data.train))
    Trainer(model, optimizer, data, config, step, done=(epoch - 1) * batches).train_until(epoch * batches)


def _order(config: TrialConfig, images: int, epoch: int) -> Tensor:
    """Returns the positions of an epoch's training images: random, or those of the data for full batches."""
    if config.batch_size == "full":
        return torch.arange(images)
    return torch.randperm(images, generator=stream(config.seed, "order of images", epoch))
