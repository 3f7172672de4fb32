"""Normalisation and subsets of a data set."""

import torch

from orchestrator.study.parts.data_config import DigitsData
from orchestrator.training.data.datasets import load_source
from orchestrator.training.data.images.digits import load_digits

DIGITS = load_digits()


def test_the_training_split_is_normalised_to_mean_0_and_variance_1() -> None:
    inputs = DIGITS.normalise(DIGITS.train.inputs).double()
    assert inputs.dtype == torch.float64
    assert abs(float(inputs.mean())) < 1e-6
    assert abs(float(inputs.std(correction=0)) - 1) < 1e-6


def test_the_measurement_subset_is_fixed_random_and_nested() -> None:
    small, _ = DIGITS.measurement_subset(0.1)
    large, labels = DIGITS.measurement_subset(0.5)
    assert len(small) == 129
    assert len(large) == len(labels) == 647
    assert torch.equal(large[:129], small)
    assert not torch.equal(small, DIGITS.normalise(DIGITS.train.inputs[:129]))


def test_std_of_a_constant_channel_is_at_least_1() -> None:
    assert bool((DIGITS.std >= 1).all())


def test_train_subset_is_normalised_with_its_own_statistics() -> None:
    small = load_source(DigitsData(name="digits", train_subset=64))
    inputs = small.normalise(small.train.inputs).double()
    assert abs(float(inputs.mean())) < 1e-6
    assert abs(float(inputs.std(correction=0)) - 1) < 1e-6
    assert not torch.equal(small.mean, DIGITS.mean)


def test_measurement_subset_is_a_fraction_of_the_train_subset() -> None:
    small = load_source(DigitsData(name="digits", train_subset=64))
    inputs, _ = small.measurement_subset(0.25)
    assert len(inputs) == 16
    of_the_subset = {bytes(image.numpy()) for image in small.normalise(small.train.inputs)}
    assert all(bytes(image.numpy()) in of_the_subset for image in inputs)


def test_the_description_has_sizes_shapes_and_types() -> None:
    assert DIGITS.description == {
        "train_samples": 1294,
        "validation_samples": 144,
        "test_samples": 359,
        "classes": 10,
        "inputs": {"shape": [1, 8, 8], "dtype": "uint8"},
        "targets": {"shape": [], "dtype": "int64"},
    }
