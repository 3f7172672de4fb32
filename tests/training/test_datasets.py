"""What a trial sees: splits, normalisation, noise, the same for every trial on one data set."""

import torch

from orchestrator.study.data_config import DigitsData
from orchestrator.training.datasets import OOD_STANDARD_DEVIATION, load_data

CPU = torch.device("cpu")
DIGITS = load_data(DigitsData(name="digits"), CPU)


def test_digits_are_split_without_overlap() -> None:
    assert [len(part) for part in (DIGITS.train, DIGITS.validation, DIGITS.test)] == [1294, 144, 359]
    assert sum(len(part) for part in (DIGITS.train, DIGITS.validation, DIGITS.test)) == 1797
    everything = torch.cat([part.pixels for part in (DIGITS.train, DIGITS.validation, DIGITS.test)]).flatten(1)
    from sklearn.datasets import load_digits

    original = torch.as_tensor(load_digits().data).mul(255 / 16).round().to(torch.uint8)
    # The same images in another order, each exactly as often.
    assert sorted(map(bytes, everything.numpy())) == sorted(map(bytes, original.numpy()))


def test_labels_belong_to_their_images() -> None:
    from sklearn.datasets import load_digits

    raw = load_digits()
    by_image: dict[bytes, set[int]] = {}
    pixels = torch.as_tensor(raw.data).mul(255 / 16).round().to(torch.uint8).numpy()
    for image, label in zip(pixels, raw.target, strict=True):
        by_image.setdefault(bytes(image), set()).add(int(label))
    for image, label in zip(DIGITS.test.pixels.flatten(1).numpy(), DIGITS.test.labels.tolist(), strict=True):
        assert label in by_image[bytes(image)]


def test_the_training_split_is_normalised_to_mean_0_and_variance_1() -> None:
    inputs = DIGITS.normalise(DIGITS.train.pixels).double()
    assert inputs.dtype == torch.float64
    assert abs(float(inputs.mean())) < 1e-6
    assert abs(float(inputs.std(correction=0)) - 1) < 1e-6


def test_the_measurement_subset_is_fixed_random_and_nested() -> None:
    small, _ = DIGITS.measurement_subset(0.1)
    large, labels = DIGITS.measurement_subset(0.5)
    assert len(small) == 129
    assert len(large) == len(labels) == 647
    assert torch.equal(large[:129], small)
    assert not torch.equal(small, DIGITS.normalise(DIGITS.train.pixels[:129]))


def test_ood_noise_has_its_standard_deviation_after_normalisation() -> None:
    assert DIGITS.ood_noise.shape == DIGITS.test.pixels.shape
    assert abs(float(DIGITS.ood_noise.std()) - OOD_STANDARD_DEVIATION) < 0.005
    assert abs(float(DIGITS.ood_noise.mean())) < 0.005


def test_loading_again_gives_the_very_same_data() -> None:
    load_data.cache_clear()
    again = load_data(DigitsData(name="digits"), CPU)
    assert again is not DIGITS
    assert again.digest == DIGITS.digest
    for name in ("ood_noise", "mean", "std"):
        assert torch.equal(getattr(again, name), getattr(DIGITS, name))
    assert torch.equal(again.train.pixels, DIGITS.train.pixels)


def test_trials_of_one_process_share_the_copy() -> None:
    assert load_data(DigitsData(name="digits"), CPU) is load_data(DigitsData(name="digits"), CPU)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    assert bool((DIGITS.std >= 1).all())
