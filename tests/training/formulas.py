"""Reference implementation of a trial's data: plain formulas, with all images in memory."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from orchestrator.training.data.data_splits import DataSplits


def _generator(purpose: str) -> torch.Generator:
    digest = hashlib.sha256(f"42/{purpose}/0".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Listed:
    """A data set in published or listed order."""

    classes: tuple[str, ...]
    train_pixels: Tensor
    train_labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor

    @property
    def digest(self) -> str:
        digest = hashlib.sha256(json.dumps(list(self.classes)).encode())
        for pixels, labels in ((self.train_pixels, self.train_labels), (self.test_pixels, self.test_labels)):
            digest.update(pixels.contiguous().numpy().tobytes())
            digest.update(labels.to(torch.uint8 if len(self.classes) <= 256 else torch.int64).numpy().tobytes())
        return digest.hexdigest()


def listed_folder(folder: Path) -> Listed:
    """Returns the images of a folder, read one by one."""
    classes = tuple(sorted(path.name for path in (folder / "train").iterdir()))
    parts = []
    for split in ("train", "test"):
        files = [
            (label, path) for label, name in enumerate(classes) for path in sorted((folder / split / name).iterdir())
        ]
        parts.append(torch.stack([pil_to_tensor(Image.open(path)) for _, path in files]))
        parts.append(torch.tensor([label for label, _ in files]))
    return Listed(classes, *parts)


def assert_as_by_the_formulas(data: DataSplits, listed: Listed, subset: int | None = None) -> None:
    """Asserts that every tensor of a trial's data and the digest are identical to the reference."""
    count = len(listed.train_labels)
    order = torch.randperm(count, generator=_generator("validation split"))
    held_out = round(0.1 * count)
    validation, train = order[:held_out], order[held_out:][:subset]
    pixels = listed.train_pixels[train].flatten(2).double()
    mean = pixels.sum((0, 2)) / (len(train) * pixels.shape[2])
    square = pixels.square().sum((0, 2)) / (len(train) * pixels.shape[2])
    noise = torch.randn(listed.test_pixels.shape, generator=_generator("ood noise")) * 0.25
    expected = {
        "train pixels": (data.train.inputs, listed.train_pixels[train]),
        "train labels": (data.train.targets, listed.train_labels[train]),
        "validation pixels": (data.validation.inputs, listed.train_pixels[validation]),
        "validation labels": (data.validation.targets, listed.train_labels[validation]),
        "test pixels": (data.test.inputs, listed.test_pixels),
        "test labels": (data.test.targets, listed.test_labels),
        "noise": (data.ood_noise, noise),
        "mean": (data.mean, mean.float()[:, None, None]),
        "std": (data.std, (square - mean.square()).sqrt().clamp(min=1.0).float()[:, None, None]),
    }
    for name, (found, wanted) in expected.items():
        assert found.dtype == wanted.dtype, name
        assert torch.equal(found, wanted), name
    assert data.classes == listed.classes
    assert data.digest == listed.digest
