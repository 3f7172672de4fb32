"""Data to probe with: the real images where they are here, noise of the same size where they would be downloaded."""

import functools
import math
from collections.abc import Iterable

import torch

from orchestrator.study.data_config import Data
from orchestrator.training.data.datasets import ResidentData, load_data, load_source
from orchestrator.training.data.images import Images
from orchestrator.training.data.split import held_out_of
from orchestrator.training.data.torchvision_data import Facts, published_shape


def read_data(configs: Iterable[Data]) -> None:
    """Reads, and decodes where that was never done, what must be read to know its size. Downloads nothing.

    Raises:
        DataError: naming the folder or image.
    """
    for config in dict.fromkeys(configs):
        if published_shape(config) is None:
            load_source(config)


@functools.lru_cache(maxsize=1)
def probe_data(config: Data, device: torch.device) -> ResidentData:
    """The data of a trial, or grey noise of the same size where it would have to be downloaded: it costs the same."""
    facts = published_shape(config)
    return load_data(config, device) if facts is None else _noise(facts, config.train_subset, device)


def _noise(facts: Facts, train_subset: int | None, device: torch.device) -> ResidentData:
    held_out = held_out_of(facts.train)
    trained = min(facts.train - held_out, train_subset or facts.train)
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> Images:
        # A few drawn and repeated: copying is quicker than drawing a hundred million numbers.
        few = torch.randint(0, 256, (min(count, 1000), *facts.shape), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, facts.classes, (count,), generator=generator)
        return Images(few.repeat(math.ceil(count / len(few)), 1, 1, 1)[:count], labels).to(device)

    return ResidentData(
        train=images(trained),
        validation=images(held_out),
        test=images(facts.test),
        ood_noise=torch.full((facts.test, *facts.shape), 0.25, device=device),
        mean=torch.full((facts.shape[0], 1, 1), 127.5, device=device),
        std=torch.full((facts.shape[0], 1, 1), 74.0, device=device),
        classes=tuple(map(str, range(facts.classes))),
        digest="noise",
    )
