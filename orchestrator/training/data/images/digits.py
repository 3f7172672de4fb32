"""The digits data set of scikit-learn: 1,797 images of shape 1x8x8, included in its package."""

import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from orchestrator.training.data import split
from orchestrator.training.data.data_splits import DataSplits, per_channel
from orchestrator.training.data.samples import DataError, Samples
from orchestrator.training.streams import stream


def load_digits() -> DataSplits:
    """Returns the digits data set. It has no test set, so a random fifth, drawn with a fixed seed, is used.

    Raises:
        DataError: if scikit-learn is not installed.
    """
    table = _table()
    grey = torch.as_tensor(table[:, :-1]).reshape(-1, 1, 8, 8)  # 0..16
    pixels = grey.mul(255 / 16).round().to(torch.uint8)
    labels = torch.as_tensor(table[:, -1], dtype=torch.int64)
    digest = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    shuffled = torch.randperm(len(labels), generator=stream(split.SPLIT_SEED, "digits test split"))
    images = Samples(pixels, labels).select(shuffled)
    tested = round(0.2 * len(images))
    order, held_out = split.training_order(len(images) - tested)
    test, train = images[:tested], images[tested:].select(order)
    mean, std = split.channel_statistics(train[held_out:].inputs)
    return DataSplits(
        train=train[held_out:],
        validation=train[:held_out],
        test=test,
        ood_noise=split.draw_ood_noise(torch.empty(test.inputs.shape)),
        mean=per_channel(mean),
        std=per_channel(std),
        classes=tuple(map(str, range(10))),
        digest=digest,
    )


def _table() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Returns 64 pixels and the label of every image, from the file of scikit-learn.

    Importing scikit-learn to read it would take about a second in every process that trains.
    """
    package = find_spec("sklearn")
    folders = (package and package.submodule_search_locations) or ()
    files = [path for folder in folders if (path := Path(folder, "datasets", "data", "digits.csv.gz")).is_file()]
    if not files:
        raise DataError("the digits data needs scikit-learn: pip install 'hessian-dynamics[sweep]'")
    with gzip.open(files[0], "rt") as lines:
        return np.loadtxt(lines, delimiter=",", ndmin=2)
