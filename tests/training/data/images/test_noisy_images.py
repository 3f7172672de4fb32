"""Noisy images for the report."""

import pytest
import torch

from orchestrator.study.parts.data_config import DigitsData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.data.images.noisy_images import noisy_images


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data(DigitsData(name="digits"), torch.device("cpu"))


def test_strength_0_returns_the_first_test_images_of_different_classes(data: DataSplits) -> None:
    pixels, labels = noisy_images(data, (0.0,), 4)
    assert pixels.shape == (1, 4, 1, 8, 8)
    assert len(set(labels)) == 4
    first = {name: data.test.targets.tolist().index(int(name)) for name in labels}
    assert list(first.values()) == sorted(first.values())
    for place, name in enumerate(labels):
        assert torch.equal(pixels[0, place], data.test.inputs[first[name]])


def test_the_noise_is_the_scaled_ood_noise(data: DataSplits) -> None:
    pixels, labels = noisy_images(data, (0.25, 0.1), 2)
    place = data.test.targets.tolist().index(int(labels[1]))
    for shown, share in zip(pixels, (1.0, 0.4), strict=True):
        seen = data.normalise(data.test.inputs[place]) + share * data.ood_noise[place]
        expected = (seen * data.std + data.mean).round().clamp(0, 255)
        assert (shown[1].float() - expected).abs().max() <= 1
