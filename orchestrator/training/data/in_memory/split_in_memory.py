"""Splits data that is held in memory, such as tables, texts and the tensors of the user's own function."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.training.data import split
from orchestrator.training.data.data_splits import DataSplits, per_channel
from orchestrator.training.data.samples import DataError, Samples
from orchestrator.training.data.task import Task
from orchestrator.training.devices import memory_bytes


def split_in_memory(
    train: Samples,
    test: Samples,
    task: Task,
    digest: str,
    *,
    classes: tuple[str, ...] = (),
    vocabulary: int | None = None,
    outputs: int | None = None,
    shifted: Samples | None = None,
) -> DataSplits:
    """Returns a data set with a random tenth of the training samples held out for validation.

    Args:
        train: all samples that are not for testing, in published order.
        test: the test samples. Numeric inputs get the noise of the OOD evaluation.
        task: what the targets are.
        digest: of inputs and targets.
        classes: names of the classes, if the targets are classes.
        vocabulary: number of different input tokens, if the inputs are tokens.
        outputs: number of outputs of a network, if the targets are not classes.
        shifted: the shifted test samples, if the inputs are tokens.

    Raises:
        DataError: if there are too few samples for a validation split.
    """
    order, held_out = split.training_order(len(train))
    train = train.select(order)
    mean, std = torch.zeros(()), torch.ones(())
    if train.inputs.dtype == torch.uint8:
        mean, std = map(per_channel, split.channel_statistics(train[held_out:].inputs))
    noise = torch.empty(0) if shifted else split.draw_ood_noise(torch.empty(test.inputs.shape))
    return DataSplits(
        train=train[held_out:],
        validation=train[:held_out],
        test=test,
        ood_noise=noise,
        mean=mean,
        std=std,
        classes=classes,
        digest=digest,
        task=task,
        vocabulary=vocabulary,
        outputs=outputs,
        shifted=shifted,
    )


def check_fits_memory(what: str, needed: int, fix: str) -> None:
    """Raises DataError if data does not fit into the available memory.

    Args:
        what: what takes the memory: ``reading 'a.csv' (30 MB)``.
        needed: bytes that it takes.
        fix: how to need less.
    """
    memory = memory_bytes()
    if memory and needed > memory[1]:
        raise DataError(
            f"{what} takes about {needed / 1e6:,.0f} MB of memory, but {memory[1] / 1e6:,.0f} MB are available here: "
            f"{fix}, or a larger machine"
        )


def check_file_fits_memory(path: Path, copies: int) -> None:
    """Raises DataError if the machine has too little memory to read a file.

    Args:
        path: the file.
        copies: memory that reading takes, in multiples of the file's size.
    """
    size = path.stat().st_size
    check_fits_memory(f"reading {str(path)!r} ({size / 1e6:,.0f} MB)", copies * size, "use a smaller file")


def digest_of(*tensors: Tensor) -> str:
    """Returns the SHA-256 digest of the shapes and contents of tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
