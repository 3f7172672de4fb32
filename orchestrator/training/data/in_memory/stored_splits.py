"""Tables and texts in the cache: read once, then mapped by every process."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orchestrator.training.data.cache.decoded_copy import (
    check_free_space,
    decode_once,
    decoded_folder,
    finish,
    map_file,
    read_copy,
    write_file,
)
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.samples import Samples
from orchestrator.training.data.task import Task

_VERSION = 1
"""Version of the reading of tables and texts. Copies of another version are not read."""


def read_once(path: Path, settings: dict[str, Any], read: Callable[[], DataSplits]) -> DataSplits:
    """Returns the data of a file, memory-mapped. Reads the file first if there is no copy of its present version.

    Args:
        path: the file.
        settings: what else determines the data, as JSON.
        read: reads and splits the data.

    Raises:
        OSError: if the file does not exist.
        DataError: if the copy cannot be written or is damaged.
        Exception: if `read` raises it.
    """
    status = path.stat()
    version = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, str(path.resolve())
    content = hashlib.sha256(json.dumps([_VERSION, version, settings]).encode()).hexdigest()
    folder = decoded_folder("file", content)
    decode_once(folder, lambda copy, _: _write(copy, read()))
    return read_copy(folder, partial(_map, folder))


def _write(folder: Path, data: DataSplits) -> None:
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    parts |= {} if data.shifted is None else {"shifted": data.shifted}
    tensors = {f"{name}.inputs": part.inputs for name, part in parts.items()}
    tensors |= {f"{name}.targets": part.targets for name, part in parts.items()}
    tensors["test.noise"] = data.ood_noise
    check_free_space(folder, sum(tensor.nbytes for tensor in tensors.values()))
    for name, tensor in tensors.items():
        write_file(folder / name, [tensor.contiguous().numpy().tobytes()])
    described = {
        name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()
    }
    meta = {"classes": data.classes, "task": data.task.value, "vocabulary": data.vocabulary, "outputs": data.outputs}
    finish(folder, {**meta, "tensors": described, "digest": data.digest})


def _map(folder: Path, meta: dict[str, Any]) -> DataSplits:
    tensors = {
        name: map_file(folder / name, getattr(torch, dtype), *shape) for name, (dtype, shape) in meta["tensors"].items()
    }

    def samples(name: str) -> Samples:
        return Samples(tensors[f"{name}.inputs"], tensors[f"{name}.targets"])

    return DataSplits(
        train=samples("train"),
        validation=samples("validation"),
        test=samples("test"),
        ood_noise=tensors["test.noise"],
        mean=torch.zeros(()),  # tables and texts are stored as a network reads them
        std=torch.ones(()),
        classes=tuple(meta["classes"]),
        digest=meta["digest"],
        task=Task(meta["task"]),
        vocabulary=meta["vocabulary"],
        outputs=meta["outputs"],
        shifted=samples("shifted") if "shifted.inputs" in tensors else None,
    )
