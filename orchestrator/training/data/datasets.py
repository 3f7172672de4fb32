"""Loads the data set that a config names."""

import functools
from pathlib import Path

import torch

from orchestrator.study.data_config import Data, DigitsData, ImageFolderData, TorchvisionData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.digits import load_digits
from orchestrator.training.data.image_folder import image_folder_digest, image_folder_state, load_image_folder
from orchestrator.training.data.samples import DataError
from orchestrator.training.data.split import VALIDATION_FRACTION, validation_size
from orchestrator.training.data.torchvision_data import (
    check_fetchable,
    load_published,
    published_size,
    published_state,
)


# All trials of a process share one copy on the device. Only the most recent data set is kept.
@functools.lru_cache(maxsize=1)
def load_data(config: Data, device: torch.device) -> DataSplits:
    """Returns the data set of a trial, on its device.

    Raises:
        DataError: if a file, folder or value is missing, damaged or too large. The message names it.
    """
    data = load_source(config)
    if config.train_subset is not None:
        data = data.with_train_subset(config.train_subset)
    return data.to(device)


def load_source(config: Data) -> DataSplits:
    """Returns the whole data set on the CPU. Downloads and decodes it into the cache first if necessary.

    Raises:
        DataError: if a file, folder or value is missing, damaged or too large. The message names it.
    """
    if size := published_size(config):  # checked before anything is downloaded
        _check_train_subset(config, size.train - validation_size(size.train))
    if isinstance(config, DigitsData):
        data = load_digits()
    elif isinstance(config, ImageFolderData):
        data = load_image_folder(Path(config.path))
    else:
        data = load_published(config)
    _check_train_subset(config, len(data.train))
    return data


def source_digest(config: Data, decode: bool) -> str:
    """Returns the digest of a whole data set. A decoded image folder is listed, but no image is read.

    Args:
        config: the data set.
        decode: whether to decode the data set if it is not decoded yet.

    Raises:
        DataError: if a file or folder is missing or damaged, or if the data set is not decoded and must not be.
    """
    if isinstance(config, ImageFolderData) and (digest := image_folder_digest(Path(config.path))):
        return digest
    if not decode:
        raise DataError(f"{available(config)}; run and plan decode and compare it")
    return load_source(config.model_copy(update={"train_subset": None})).digest


def available(config: Data) -> str:
    """Describes the state of a data set in one line: decoded, downloaded, absent or not usable. Uses no network."""
    try:
        return f"{config.name}: {_state(config)}"
    except DataError as error:
        return f"{config.name}: not usable: {error}"


def obtainable(config: Data) -> str:
    """Describes the state of a data set in one line. If it is absent, checks that its servers respond.

    Raises:
        DataError: if a trial could not load it.
    """
    state = _state(config)
    if isinstance(config, TorchvisionData):
        check_fetchable(config)
    return f"{config.name}: {state}"


def _state(config: Data) -> str:
    if isinstance(config, DigitsData):
        load_digits()
        return "part of scikit-learn"
    if isinstance(config, ImageFolderData):
        return image_folder_state(Path(config.path))
    return published_state(config)


def _check_train_subset(config: Data, images: int) -> None:
    if config.train_subset is not None and config.train_subset > images:
        raise DataError(
            f"data.train_subset = {config.train_subset}: {config.name} has {images} images to train on, after "
            f"{VALIDATION_FRACTION:.0%} are held out for validation; take at most {images}, or null for all of them"
        )
