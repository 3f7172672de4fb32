"""Loading the data set of a config: subsets and errors."""

import sys
from pathlib import Path

import pytest
import torch

from orchestrator.study.parts.data_config import DigitsData
from orchestrator.training.data.datasets import available, load_data, load_source
from orchestrator.training.data.samples import DataError
from tests.training.formulas import assert_as_by_the_formulas
from tests.training.published import closed_address, publish

CPU = torch.device("cpu")
DIGITS = load_data(DigitsData(name="digits"), CPU)


def test_loading_again_returns_identical_data() -> None:
    load_data.cache_clear()
    again = load_data(DigitsData(name="digits"), CPU)
    assert again is not DIGITS
    assert again.digest == DIGITS.digest
    for name in ("ood_noise", "mean", "std"):
        assert torch.equal(getattr(again, name), getattr(DIGITS, name))
    assert torch.equal(again.train.inputs, DIGITS.train.inputs)


def test_trials_of_one_process_share_one_copy() -> None:
    assert load_data(DigitsData(name="digits"), CPU) is load_data(DigitsData(name="digits"), CPU)


def test_subsets_are_nested_and_do_not_change_validation_and_test() -> None:
    small, large = (load_data(DigitsData(name="digits", train_subset=count), CPU) for count in (100, 1000))
    assert (len(small.train), len(large.train)) == (100, 1000)
    for pixels in (large.train.inputs, DIGITS.train.inputs):
        assert torch.equal(pixels[:100], small.train.inputs)
    for part in ("validation", "test"):
        assert torch.equal(getattr(small, part).inputs, getattr(DIGITS, part).inputs)
        assert torch.equal(getattr(small, part).targets, getattr(DIGITS, part).targets)
    assert torch.equal(small.ood_noise, DIGITS.ood_noise)
    assert small.digest == DIGITS.digest


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("subset", [1, 10, 54])
def test_subset_of_a_decoded_data_set_equals_the_reference(
    subset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = publish("cifar100", tmp_path / "published", closed_address())
    small.announce(monkeypatch)
    assert_as_by_the_formulas(load_data(small.config(tmp_path / "published", subset), CPU), small.listed, subset)


def test_subset_of_all_images_equals_the_whole_data() -> None:
    whole = load_data(DigitsData(name="digits", train_subset=1294), CPU)
    for name in ("mean", "std"):
        assert torch.equal(getattr(whole, name), getattr(DIGITS, name))
    assert torch.equal(whole.train.inputs, DIGITS.train.inputs)


def test_too_large_subset_is_refused() -> None:
    expected = (
        r"data.train_subset = 1295: digits has 1294 samples to train on, after 10% are held out for validation; "
        r"take at most 1294, or null for all of them"
    )
    with pytest.raises(DataError, match=expected):
        load_data(DigitsData(name="digits", train_subset=1295), CPU)


def test_missing_scikit_learn_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available(DigitsData(name="digits")) == "digits: part of scikit-learn"
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match=r"the digits data needs scikit-learn: pip install 'hessian-dynamics\[sweep\]'"):
        load_source(DigitsData(name="digits"))
    assert available(DigitsData(name="digits")).startswith("digits: not usable: the digits data needs scikit-learn")
