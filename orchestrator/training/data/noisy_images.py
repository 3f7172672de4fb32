"""Test images as the OOD evaluation sees them, made visible: what Figure 4 of the paper shows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.data.split import OOD_STANDARD_DEVIATION


def noisy_images(data: ResidentData, strengths: Sequence[float], count: int) -> tuple[Tensor, tuple[str, ...]]:
    """The first test images of different classes at each strength of noise, and their classes.

    The noise is the OOD evaluation's own, scaled; it is added to the normalised image, as there, and what leaves 0..255
    when that is undone is cut off for the eye.

    Returns:
        uint8 [strengths, images, channels, height, width], and a name an image.
    """
    chosen = list(
        dict(reversed([(int(label), place) for place, label in enumerate(data.test.labels.tolist())])).values()
    )
    places = torch.tensor(sorted(chosen)[:count], device=data.test.labels.device)
    clean, noise = data.normalise(data.test.pixels[places]), data.ood_noise[places]
    seen = [(clean + strength / OOD_STANDARD_DEVIATION * noise) * data.std + data.mean for strength in strengths]
    pixels = torch.stack(seen).round().clamp(0, 255).to(torch.uint8)
    return pixels, tuple(data.classes[label] for label in data.test.labels[places].tolist())
