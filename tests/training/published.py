"""Small random data sets in the file formats of the published ones, with checksums and URLs."""

import gzip
import hashlib
import io
import pickle
import socket
import struct
import tarfile
import threading
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import pytest
import scipy.io
import torch
from torchvision import datasets

from orchestrator.study.parts.data_config import TorchvisionData
from tests.training.formulas import Listed

NAMES = ("cifar10", "cifar100", "mnist", "fashion_mnist", "svhn")
KINDS = {
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
    "mnist": datasets.MNIST,
    "fashion_mnist": datasets.FashionMNIST,
    "svhn": datasets.SVHN,
}


@dataclass(frozen=True)
class Small:
    """A small data set, written into a folder as it would be published."""

    name: str
    listed: Listed
    files: tuple[str, ...]
    """Relative to the folder."""
    attributes: dict[str, Any]
    """Attributes to set on torchvision's class, so that it expects these files."""

    def announce(self, patch: pytest.MonkeyPatch) -> None:
        """Makes torchvision in this process expect these files."""
        for name, value in self.attributes.items():
            patch.setattr(KINDS[self.name], name, value)

    def config(self, folder: Path | None = None, train_subset: int | None = None) -> TorchvisionData:
        path = None if folder is None else str(folder)
        return TorchvisionData(name=self.name, path=path, train_subset=train_subset)  # type: ignore[arg-type]


def publish(name: str, folder: Path, address: str, train: int = 60, test: int = 20) -> Small:
    """Writes a data set of random images into a folder. Its download URLs start with the address."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(len(name))
    shape = (1, 28, 28) if "mnist" in name else (3, 32, 32)
    classes = 100 if name == "cifar100" else 10
    parts = []
    for count in (train, test):
        parts.append(torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8))
        parts.append(torch.randint(0, classes, (count,), generator=generator))
    write = {"svhn": _svhn, "cifar10": _cifar10, "cifar100": _cifar100}.get(name, partial(_mnist, name))
    return write(folder, address, parts)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def _cifar10(folder: Path, address: str, parts: list[torch.Tensor]) -> Small:
    classes = tuple(f"thing {number}" for number in range(10))
    batches = [*zip(parts[0].chunk(5), parts[1].chunk(5), strict=True), (parts[2], parts[3])]
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    members = {
        name: pickle.dumps({"data": pixels.flatten(1).numpy(), "labels": labels.tolist()})
        for name, (pixels, labels) in zip(names, batches, strict=True)
    }
    members["batches.meta"] = pickle.dumps({"label_names": list(classes)})
    listed = Listed(classes, *parts)
    return _archive("cifar10", folder, "cifar-10-batches-py", "cifar-10-python.tar.gz", address, members, listed)


def _cifar100(folder: Path, address: str, parts: list[torch.Tensor]) -> Small:
    classes = tuple(f"kind {number}" for number in range(100))
    members = {
        name: pickle.dumps({"data": pixels.flatten(1).numpy(), "fine_labels": labels.tolist(), "coarse_labels": []})
        for name, pixels, labels in (("train", *parts[:2]), ("test", *parts[2:]))
    }
    members["meta"] = pickle.dumps({"fine_label_names": list(classes), "coarse_label_names": []})
    listed = Listed(classes, *parts)
    return _archive("cifar100", folder, "cifar-100-python", "cifar-100-python.tar.gz", address, members, listed)


def _archive(
    name: str, folder: Path, base: str, file: str, address: str, members: dict[str, bytes], listed: Listed
) -> Small:
    with tarfile.open(folder / file, "w:gz") as tar:
        for member, content in members.items():
            info = tarfile.TarInfo(f"{base}/{member}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    sums = [[member, hashlib.md5(content).hexdigest()] for member, content in members.items()]
    *batches, (meta, meta_md5) = sums
    attributes = {
        "url": f"{address}/{file}",
        "tgz_md5": md5(folder / file),
        "train_list": batches[:-1],
        "test_list": batches[-1:],
        "meta": {"filename": meta, "key": "label_names" if name == "cifar10" else "fine_label_names", "md5": meta_md5},
    }
    return Small(name, listed, (file,), attributes)


def unpack(folder: Path, file: str) -> None:
    """Replaces an archive by its content."""
    with tarfile.open(folder / file) as tar:
        tar.extractall(folder)
    (folder / file).unlink()


def _mnist(name: str, folder: Path, address: str, parts: list[torch.Tensor]) -> Small:
    raw = Path(KINDS[name].__name__) / "raw"
    (folder / raw).mkdir(parents=True, exist_ok=True)
    sums = []
    for prefix, pixels, labels in (("train", *parts[:2]), ("t10k", *parts[2:])):
        for file, content in (
            (f"{prefix}-images-idx3-ubyte.gz", struct.pack(">4I", 0x803, *pixels[:, 0].shape) + bytes(pixels.numpy())),
            (f"{prefix}-labels-idx1-ubyte.gz", struct.pack(">2I", 0x801, len(labels)) + bytes(labels.tolist())),
        ):
            (folder / raw / file).write_bytes(gzip.compress(content))
            sums.append((file, md5(folder / raw / file)))
    attributes = {"mirrors": [f"{address}/{raw}/"], "resources": sums}
    files = tuple(str(raw / file) for file, _ in sums)
    return Small(name, Listed(tuple(KINDS[name].classes), *parts), files, attributes)


def _svhn(folder: Path, address: str, parts: list[torch.Tensor]) -> Small:
    split_list = {}
    for split, pixels, labels in (("train", *parts[:2]), ("test", *parts[2:])):
        file = f"{split}_32x32.mat"
        digits = numpy.where(labels.numpy() == 0, 10, labels.numpy()).astype(numpy.uint8)[:, None]
        content = {"X": pixels.permute(2, 3, 1, 0).numpy(), "y": digits}
        scipy.io.savemat(folder / file, content, do_compression=True)
        split_list[split] = [f"{address}/{file}", file, md5(folder / file)]
    split_list["extra"] = [f"{address}/extra_32x32.mat", "extra_32x32.mat", "0" * 32]
    files = tuple(f"{split}_32x32.mat" for split in ("train", "test"))
    return Small("svhn", Listed(tuple("0123456789"), *parts), files, {"split_list": split_list})


def closed_address() -> str:
    """Returns an address that refuses connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class Server:
    """Serves the files of a folder on loopback."""

    def __init__(self, folder: Path, keep_back: int = 0, delay: float = 0.0):
        self.asked: list[str] = []
        """Paths of the GET requests."""
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                threading.Event().wait(delay)
                super().do_GET()

            def copyfile(self, source: Any, outputfile: Any) -> None:
                content = source.read()
                outputfile.write(content[: len(content) - keep_back])

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()
