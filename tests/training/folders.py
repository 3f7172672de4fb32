"""Small image folders of real files."""

from pathlib import Path

import torch
from PIL import Image


def write_image(path: Path, seed: int, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> None:
    """Writes an image of random pixels; size is width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = 3 if mode == "RGB" else 1
    content = torch.randint(0, 256, (size[1], size[0], channels), generator=torch.Generator().manual_seed(seed))
    pixels = content.to(torch.uint8).numpy()
    Image.fromarray(pixels if mode == "RGB" else pixels[:, :, 0], mode=mode).save(path)


def make_folder(
    root: Path, per_class: int = 15, size: tuple[int, int] = (8, 6), mode: str = "RGB", suffix: str = ".png"
) -> Path:
    """Writes a folder of two classes and returns it."""
    seed = 0
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(per_class):
                seed += 1
                write_image(root / split / name / f"{number:03d}{suffix}", seed, size, mode)
    return root
