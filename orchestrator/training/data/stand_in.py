"""Data for timing a trial: noise of the same size for downloadable data sets, the real images for others."""

import functools
import math
from collections.abc import Iterable

import torch

from orchestrator.study.data_config import Data
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data, load_source
from orchestrator.training.data.samples import Samples
from orchestrator.training.data.split import validation_size
from orchestrator.training.data.torchvision_data import PublishedSize, published_size


def read_data(configs: Iterable[Data]) -> None:
    """Reads every data set whose size is not known in advance, and decodes it if necessary. Downloads nothing.

    Raises:
        DataError: if a folder or image is missing or damaged. The message names it.
    """
    for config in dict.fromkeys(configs):
        if published_size(config) is None:
            load_source(config)


@functools.lru_cache(maxsize=1)
def probe_data(config: Data, device: torch.device) -> DataSplits:
    """Returns noise of the same size, and thus the same cost, for published data sets, and the real data for others."""
    size = published_size(config)
    return load_data(config, device) if size is None else _noise(size, config.train_subset, device)


def _noise(size: PublishedSize, train_subset: int | None, device: torch.device) -> DataSplits:
    held_out = validation_size(size.train)
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> Samples:
        # Draw 1,000 images and repeat them, since copying is faster than drawing.
        few = torch.randint(0, 256, (min(count, 1000), *size.shape), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, size.classes, (count,), generator=generator)
        return Samples(few.repeat(math.ceil(count / len(few)), 1, 1, 1)[:count], labels).to(device)

    return DataSplits(
        train=images(min(size.train - held_out, train_subset or size.train)),
        validation=images(held_out),
        test=images(size.test),
        ood_noise=torch.full((size.test, *size.shape), 0.25, device=device),
        mean=torch.full((size.shape[0], 1, 1), 127.5, device=device),
        std=torch.full((size.shape[0], 1, 1), 74.0, device=device),
        classes=tuple(map(str, range(size.classes))),
        digest="noise",
    )
