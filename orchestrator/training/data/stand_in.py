"""Data for timing a trial: noise of the same size for downloadable data sets, the real images for others."""

import functools
import math
from collections.abc import Iterable

import torch

from orchestrator.study.parts.data_config import Data, TorchvisionData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data, load_source
from orchestrator.training.data.images.torchvision_data import PublishedSize, published_size
from orchestrator.training.data.samples import Samples
from orchestrator.training.data.split import validation_size


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
    if size is None or not isinstance(config, TorchvisionData):
        return load_data(config, device)
    return _noise(size, config, device)


def _noise(size: PublishedSize, config: TorchvisionData, device: torch.device) -> DataSplits:
    chosen = config.classes or size.classes
    classes = chosen if isinstance(chosen, int) else len(chosen)
    published, tested = (round(count * classes / size.classes) for count in (size.train, size.test))
    held_out = validation_size(published, config.validation_fraction)
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> Samples:
        # Draw 1,000 images and repeat them, since copying is faster than drawing.
        few = torch.randint(0, 256, (max(1, min(count, 1000)), *size.shape), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, classes, (count,), generator=generator)
        return Samples(few.repeat(math.ceil(count / len(few)), 1, 1, 1)[:count], labels).to(device)

    return DataSplits(
        train=images(min(published - held_out, config.train_subset or published)),
        validation=images(held_out),
        test=images(tested),
        ood_noise=torch.full((tested, *size.shape), 0.25, device=device),
        mean=torch.full((size.shape[0], 1, 1), 127.5, device=device),
        std=torch.full((size.shape[0], 1, 1), 74.0, device=device),
        classes=tuple(map(str, range(classes))),
        digest="noise",
    )
