"""The training, validation and test samples of a data set, on one device."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orchestrator.training.data.samples import Samples
from orchestrator.training.data.split import SPLIT_SEED, channel_statistics
from orchestrator.training.data.task import Task
from orchestrator.training.models.signature import Signature
from orchestrator.training.streams import stream


@dataclass(frozen=True)
class DataSplits:
    """A data set, split and ready to train on. On the CPU, images other than the digits are mapped from the cache."""

    train: Samples
    """In a fixed random order, so the first n images are a random subset. Subsets are nested."""
    validation: Samples
    test: Samples
    ood_noise: Tensor
    """float32 [n_test, channels, height, width]: added to the normalised test images."""
    mean: Tensor
    """float32 [channels, 1, 1]: mean of the training pixels, which are 0..255."""
    std: Tensor
    """float32 [channels, 1, 1]: standard deviation of the training pixels."""
    classes: tuple[str, ...]
    digest: str
    """SHA-256 of all pixels, labels and class names in published order, before the split."""
    task: Task = Task.CLASSES

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train.inputs.shape
        return channels, height, width

    @property
    def signature(self) -> Signature:
        """What a network for this data reads and returns."""
        return Signature(self.shape, len(self.classes))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Returns uint8 pixels [n, channels, height, width] as float32, standardised with `mean` and `std`."""
        return pixels.to(torch.float32).sub_(self.mean).div_(self.std)

    def shifted_test_inputs(self, part: slice) -> Tensor:
        """Returns normalised test inputs with the distribution shift, for the OOD evaluation."""
        return self.normalise(self.test.inputs[part]).add_(self.ood_noise[part])

    def measurement_subset(self, fraction: float) -> tuple[Tensor, Tensor]:
        """Returns normalised inputs and labels of a fixed random fraction of the training images.

        Curvature is measured on this subset. Subsets of different fractions are nested.
        """
        order = torch.randperm(len(self.train), generator=stream(SPLIT_SEED, "measurement subset"))
        chosen = order[: max(1, round(fraction * len(order)))].to(self.train.targets.device)
        return self.normalise(self.train.inputs[chosen]), self.train.targets[chosen]

    def with_train_subset(self, images: int) -> "DataSplits":
        """Returns the data with only the first n training images, and with the mean and std of these images."""
        train = self.train[:images]
        mean, std = channel_statistics(train.inputs)
        return replace(self, train=train, mean=per_channel(mean), std=per_channel(std))

    def to(self, device: torch.device) -> "DataSplits":
        """Returns the data on a device. Tensors already on that device are not copied."""
        names = ("train", "validation", "test", "ood_noise", "mean", "std")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def per_channel(values: Tensor) -> Tensor:
    """Returns one value per channel as float32 [channels, 1, 1], which broadcasts over images."""
    return values.to(torch.float32)[:, None, None]
