"""The training, validation and test samples of a data set, on one device."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from orchestrator.training.data.samples import Samples
from orchestrator.training.data.split import SPLIT_SEED
from orchestrator.training.data.task import Task
from orchestrator.training.models.signature import Signature
from orchestrator.training.streams import stream


@dataclass(frozen=True)
class DataSplits:
    """A data set, split and ready to train on. On the CPU, images but the digits, tables and texts are mapped files."""

    train: Samples
    """In a fixed random order, so the first n samples are a random subset. Subsets are nested."""
    validation: Samples
    """Empty if there is no validation."""
    test: Samples
    ood_noise: Tensor
    """float32 [n_test, ...]: added to the normalised test inputs for the OOD evaluation, unless there is `shifted`."""
    mean: Tensor
    """float32, broadcasts over images: mean of the training pixels, which are 0..255. Not used for other inputs."""
    std: Tensor
    """float32, as `mean`: standard deviation of the training pixels."""
    classes: tuple[str, ...]
    """Names of the classes; empty unless the targets are classes."""
    digest: str
    """SHA-256 of all stored inputs, targets and class names in published order, before the split."""
    task: Task = Task.CLASSES
    vocabulary: int | None = None
    """Number of different input tokens. None if the inputs are not tokens."""
    outputs: int | None = None
    """Number of outputs of a network. None: the number of classes."""
    shifted: Samples | None = None
    """The normalised test samples after the distribution shift, if it is not noise."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input of one sample: channels, height and width of an image."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def signature(self) -> Signature:
        """What a network for this data reads and returns."""
        per_sequence = self.vocabulary is not None and self.task is not Task.TOKENS
        return Signature(self.shape, self.outputs or len(self.classes), self.vocabulary, per_sequence)

    @property
    def has_images(self) -> bool:
        """Whether the inputs are stored images."""
        return self.train.inputs.dtype == torch.uint8 and len(self.shape) == 3

    @property
    def description(self) -> dict[str, Any]:
        """Numbers of samples and classes, and shape and type of the inputs and targets of one sample, as JSON."""
        parts = {"inputs": self.train.inputs, "targets": self.train.targets}
        return {
            "train_samples": len(self.train),
            "validation_samples": len(self.validation),
            "test_samples": len(self.test),
            "classes": len(self.classes),
            **{
                name: {"shape": list(part.shape[1:]), "dtype": str(part.dtype).removeprefix("torch.")}
                for name, part in parts.items()
            },
        }

    def normalise(self, stored: Tensor) -> Tensor:
        """Returns inputs as a network reads them: images standardised with `mean` and `std`, others as stored."""
        if not self.has_images:
            return stored
        return stored.to(torch.float32).sub_(self.mean).div_(self.std)

    def shifted_test(self, part: slice) -> tuple[Tensor, Tensor]:
        """Returns test inputs with the distribution shift and their targets, for the OOD evaluation."""
        if self.shifted is not None:
            return self.shifted.inputs[part], self.shifted.targets[part]
        # Not in place, since `normalise` may return a view of the stored inputs.
        return self.normalise(self.test.inputs[part]) + self.ood_noise[part], self.test.targets[part]

    def measurement_subset(self, fraction: float) -> tuple[Tensor, Tensor]:
        """Returns normalised inputs and targets of a fixed random fraction of the training samples.

        Curvature is measured on this subset. Subsets of different fractions are nested.
        """
        order = torch.randperm(len(self.train), generator=stream(SPLIT_SEED, "measurement subset"))
        chosen = order[: max(1, round(fraction * len(order)))].to(self.train.targets.device)
        return self.normalise(self.train.inputs[chosen]), self.train.targets[chosen]

    def first(self, train: int, validation: int, test: int) -> "DataSplits":
        """Returns the first samples of each part."""
        return replace(
            self,
            train=self.train[:train],
            validation=self.validation[:validation],
            test=self.test[:test],
            ood_noise=self.ood_noise[:test],
            shifted=None if self.shifted is None else self.shifted[:test],
        )

    def to(self, device: torch.device) -> "DataSplits":
        """Returns the data on a device. Tensors already on that device are not copied."""
        names = ("train", "validation", "test", "ood_noise", "mean", "std")
        shifted = self.shifted and self.shifted.to(device)
        return replace(self, shifted=shifted, **{name: getattr(self, name).to(device) for name in names})


def per_channel(values: Tensor) -> Tensor:
    """Returns one value per channel as float32 [channels, 1, 1], which broadcasts over images."""
    return values.to(torch.float32)[:, None, None]
