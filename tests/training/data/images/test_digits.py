"""The digits data set: every image is used exactly once, and the digest never changes."""

import torch

from orchestrator.training.data.images.digits import load_digits as load
from orchestrator.training.data.split import OOD_STANDARD_DEVIATION

DIGITS = load()


def test_digits_are_split_without_overlap() -> None:
    assert [len(part) for part in (DIGITS.train, DIGITS.validation, DIGITS.test)] == [1294, 144, 359]
    assert sum(len(part) for part in (DIGITS.train, DIGITS.validation, DIGITS.test)) == 1797
    everything = torch.cat([part.inputs for part in (DIGITS.train, DIGITS.validation, DIGITS.test)]).flatten(1)
    from sklearn.datasets import load_digits

    original = torch.as_tensor(load_digits().data).mul(255 / 16).round().to(torch.uint8)
    # The same images in a different order, each with the same number of copies.
    assert sorted(map(bytes, everything.numpy())) == sorted(map(bytes, original.numpy()))


def test_labels_belong_to_their_images() -> None:
    from sklearn.datasets import load_digits

    raw = load_digits()
    by_image: dict[bytes, set[int]] = {}
    pixels = torch.as_tensor(raw.data).mul(255 / 16).round().to(torch.uint8).numpy()
    for image, label in zip(pixels, raw.target, strict=True):
        by_image.setdefault(bytes(image), set()).add(int(label))
    for image, label in zip(DIGITS.test.inputs.flatten(1).numpy(), DIGITS.test.targets.tolist(), strict=True):
        assert label in by_image[bytes(image)]


def test_ood_noise_has_the_specified_standard_deviation() -> None:
    assert DIGITS.ood_noise.shape == DIGITS.test.inputs.shape
    assert abs(float(DIGITS.ood_noise.std()) - OOD_STANDARD_DEVIATION) < 0.005
    assert abs(float(DIGITS.ood_noise.mean())) < 0.005


def test_digest_never_changes() -> None:
    assert DIGITS.digest == "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"
