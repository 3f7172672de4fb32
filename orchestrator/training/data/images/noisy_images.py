"""Test images with the noise of the OOD evaluation, as in Figure 4 of the paper."""

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.split import OOD_STANDARD_DEVIATION


def noisy_images(data: DataSplits, strengths: Sequence[float], count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Returns the first test image of each of `count` classes at each noise strength, and the names of the classes.

    The noise of the OOD evaluation is scaled to each strength and added to the normalised images. The result is
    converted back to pixel values and clipped to 0..255.

    Returns:
        uint8 [strengths, images, channels, height, width], and one class name per image.
    """
    labels = data.test.targets.tolist()
    first = sorted(labels.index(label) for label in set(labels))[:count]
    index = torch.tensor(first, device=data.test.targets.device)
    clean, noise = data.normalise(data.test.inputs[index]), data.ood_noise[index]
    seen = [(clean + strength / OOD_STANDARD_DEVIATION * noise) * data.std + data.mean for strength in strengths]
    pixels = torch.stack(seen).round().clamp(0, 255).to(torch.uint8)
    return pixels, tuple(data.classes[labels[position]] for position in first)
