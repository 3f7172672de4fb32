"""What a trial sees: splits, normalisation, noise, the same for every trial on one data set."""

import sys
from pathlib import Path

import pytest
import torch

from orchestrator.study.data_config import DigitsData
from orchestrator.training.data.cache import CACHE_VARIABLE
from orchestrator.training.data.datasets import available, load_data, load_source
from orchestrator.training.data.images import DataError
from orchestrator.training.data.split import OOD_STANDARD_DEVIATION, channel_statistics
from tests.training.formulas import assert_as_by_the_formulas
from tests.training.published import closed_address, publish

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


def test_a_constant_channel_has_a_deviation_of_one_grey_value() -> None:
    pixels = torch.full((50, 2, 3, 3), 7, dtype=torch.uint8)
    pixels[:25, 1] = 9
    mean, std = channel_statistics(pixels)
    assert mean.tolist() == [7, 8]
    assert std.tolist() == [1, 1]


def test_statistics_are_exact_in_any_order_and_in_slices() -> None:
    pixels = torch.randint(0, 256, (3000, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mean, std = channel_statistics(pixels)
    assert [values.tolist() for values in channel_statistics(pixels.flip(0))] == [mean.tolist(), std.tolist()]
    values = pixels.transpose(0, 1).flatten(1).double()
    assert torch.equal(mean, values.sum(1) / values.shape[1])
    assert torch.allclose(std, values.std(1, correction=0), rtol=1e-12)


def test_the_digest_of_the_digits_is_that_of_stored_trials() -> None:
    assert DIGITS.digest == "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"


def test_subsets_are_nested_and_leave_validation_and_test_alone() -> None:
    small, large = (load_data(DigitsData(name="digits", train_subset=count), CPU) for count in (100, 1000))
    assert (len(small.train), len(large.train)) == (100, 1000)
    for pixels in (large.train.pixels, DIGITS.train.pixels):
        assert torch.equal(pixels[:100], small.train.pixels)
    for part in ("validation", "test"):
        assert torch.equal(getattr(small, part).pixels, getattr(DIGITS, part).pixels)
        assert torch.equal(getattr(small, part).labels, getattr(DIGITS, part).labels)
    assert torch.equal(small.ood_noise, DIGITS.ood_noise)
    assert small.digest == DIGITS.digest


def test_a_subset_is_normalised_by_itself() -> None:
    small = load_data(DigitsData(name="digits", train_subset=64), CPU)
    inputs = small.normalise(small.train.pixels).double()
    assert abs(float(inputs.mean())) < 1e-6
    assert abs(float(inputs.std(correction=0)) - 1) < 1e-6
    assert not torch.equal(small.mean, DIGITS.mean)


def test_curvature_is_measured_on_a_fraction_of_the_subset() -> None:
    small = load_data(DigitsData(name="digits", train_subset=64), CPU)
    inputs, _ = small.measurement_subset(0.25)
    assert len(inputs) == 16
    of_the_subset = {bytes(image.numpy()) for image in small.normalise(small.train.pixels)}
    assert all(bytes(image.numpy()) in of_the_subset for image in inputs)


@pytest.mark.parametrize("subset", [1, 10, 54])
def test_a_subset_of_a_decoded_set_is_what_the_formulas_say(
    subset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    small = publish("cifar100", tmp_path / "published", closed_address())
    small.announce(monkeypatch)
    assert_as_by_the_formulas(load_data(small.config(tmp_path / "published", subset), CPU), small.listed, subset)


def test_all_images_as_a_subset_are_all_images() -> None:
    whole = load_data(DigitsData(name="digits", train_subset=1294), CPU)
    for name in ("mean", "std"):
        assert torch.equal(getattr(whole, name), getattr(DIGITS, name))
    assert torch.equal(whole.train.pixels, DIGITS.train.pixels)


def test_a_subset_that_is_too_large_is_refused() -> None:
    expected = (
        r"data.train_subset = 1295: digits has 1294 images to train on, after 10% are held out for validation; "
        r"take at most 1294, or null for all of them"
    )
    with pytest.raises(DataError, match=expected):
        load_data(DigitsData(name="digits", train_subset=1295), CPU)


def test_scikit_learn_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available(DigitsData(name="digits")) == "digits: part of scikit-learn"
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match=r"the digits data needs scikit-learn: pip install 'hessian-dynamics\[sweep\]'"):
        load_source(DigitsData(name="digits"))
    assert available(DigitsData(name="digits")).startswith("digits: not usable: the digits data needs scikit-learn")
