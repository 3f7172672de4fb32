"""Loads the data set that a config names."""

import functools
from pathlib import Path

import torch

from orchestrator.study.parts.data_config import (
    Data,
    DigitsData,
    ImageFolderData,
    OwnData,
    SortingData,
    TableData,
    TextData,
    TorchvisionData,
)
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.digits import load_digits
from orchestrator.training.data.images.image_folder import image_folder_digest, image_folder_state, load_image_folder
from orchestrator.training.data.images.torchvision_data import (
    check_fetchable,
    load_published,
    published_size,
    published_state,
)
from orchestrator.training.data.in_memory.own_data import load_own_data
from orchestrator.training.data.in_memory.sorting import sorting_data
from orchestrator.training.data.in_memory.table import load_table
from orchestrator.training.data.in_memory.text import load_text
from orchestrator.training.data.options import check_train_subset, with_options
from orchestrator.training.data.samples import DataError
from orchestrator.training.data.split import validation_size
from orchestrator.training.out_of_memory import named_if_too_large

_SMALLER = "use less data, or a machine with more memory"


# All trials of a process share one copy on the device. Only the most recent data set is kept.
@functools.lru_cache(maxsize=1)
def load_data(config: Data, device: torch.device) -> DataSplits:
    """Returns the data set of a trial, on its device.

    Raises:
        DataError: if a file, folder or value is missing, damaged or too large. The message names it.
        ValueError: if the user's own function does not return valid data.
        UserCodeError: if the user's own function raises.
    """
    return load_source(config).to(device)


def load_source(config: Data) -> DataSplits:
    """Returns the data set of a trial on the CPU. Downloads and decodes it into the cache first if necessary.

    Raises:
        As `load_data`.
    """
    if (size := published_size(config)) and getattr(config, "classes", None) is None:  # before anything is downloaded
        check_train_subset(config, size.train - validation_size(size.train, config.validation_fraction))
    with named_if_too_large(f"data {config.name}", _SMALLER):
        return with_options(_load(config), config)


def _load(config: Data) -> DataSplits:
    match config:
        case DigitsData():
            return load_digits()
        case ImageFolderData(path=path):
            return load_image_folder(Path(path))
        case TorchvisionData():
            return load_published(config)
        case TableData():
            return load_table(config)
        case TextData():
            return load_text(config)
        case SortingData():
            return sorting_data(config)
        case OwnData():
            return load_own_data(config)


def source_digest(config: Data, decode: bool) -> str:
    """Returns the digest of a whole data set. Reads no image of a decoded image folder, only its list of files.

    Args:
        config: the data set.
        decode: whether an undecoded data set may be decoded and the user's own function may be called.

    Raises:
        DataError: if a file or folder is missing or damaged, or if the digest is unknown without `decode`.
        ValueError: if the user's own function does not return valid data.
        UserCodeError: if the user's own function raises.
    """
    if isinstance(config, ImageFolderData) and (digest := image_folder_digest(Path(config.path))):
        return digest
    if not decode and isinstance(config, OwnData):
        raise DataError(f"{config.name} was not called; run and plan call it and compare its data")
    if not decode and isinstance(config, ImageFolderData):
        raise DataError(f"{available(config)}; run and plan decode it and compare it")
    return _load(config).digest


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
    match config:
        case ImageFolderData(path=path):
            return image_folder_state(Path(path))
        case TorchvisionData():
            return published_state(config)
        case DigitsData():
            load_digits()
            return "part of scikit-learn"
        case _:
            return f"{len(_load(config).train):,} samples to train on"
