"""Images for the benchmarks: from a folder, or random ones with the shape and number of CIFAR-10's."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.io import write_png

from benchmarks.harness.settings import Settings
from orchestrator.study.parts.data_config import ImageFolderData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.samples import Samples
from orchestrator.training.data.split import draw_ood_noise

SHAPE = (3, 32, 32)
CLASSES = 10
_TRAIN, _VALIDATION, _TEST = 45_000, 5_000, 10_000


def resident_data(settings: Settings, needed: int) -> DataSplits:
    """Images on the CPU: those of the folder in the settings, or random ones.

    Raises:
        ValueError: the folder has fewer than `needed` training images.
    """
    if settings.data is None:
        return random_data(divisor=100 if settings.scale == "tiny" else 1)
    data = load_data(ImageFolderData(name="image_folder", path=str(settings.data)), torch.device("cpu"))
    if len(data.train) < needed:
        raise ValueError(
            f"{str(settings.data)!r} has {len(data.train)} training images, expected at least {needed}: "
            "use a larger folder, or random images by omitting --data"
        )
    return data


def random_data(divisor: int = 1) -> DataSplits:
    """Random pixels and labels, as many as in CIFAR-10's splits, divided by `divisor`."""
    generator = torch.Generator().manual_seed(0)
    train, validation, test = (_random_images(n // divisor, generator) for n in (_TRAIN, _VALIDATION, _TEST))
    pixels = train.inputs[:1000].to(torch.float32)
    return DataSplits(
        train=train,
        validation=validation,
        test=test,
        ood_noise=draw_ood_noise(torch.empty(test.inputs.shape)),
        mean=pixels.mean((0, 2, 3))[:, None, None],
        std=pixels.std((0, 2, 3))[:, None, None],
        classes=tuple(str(number) for number in range(CLASSES)),
        digest="",
    )


def random_image_folder(folder: Path, training: int, test: int) -> Path:
    """Writes an image folder of random pixels: PNG files in ten classes, `training` in total and `test`."""
    draw = torch.Generator().manual_seed(0)
    for split, count in (("train", training), ("test", test)):
        for number in range(CLASSES):
            target = folder / split / str(number)
            target.mkdir(parents=True)
            for image in range(count // CLASSES):
                write_png(torch.randint(0, 256, SHAPE, dtype=torch.uint8, generator=draw), str(target / f"{image}.png"))
    return folder


def _random_images(count: int, generator: torch.Generator) -> Samples:
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Samples(pixels, torch.randint(0, CLASSES, (count,), generator=generator))


def batch(data: DataSplits, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` training images, normalised, and their labels."""
    return data.normalise(data.train.inputs[:count]), data.train.targets[:count]
