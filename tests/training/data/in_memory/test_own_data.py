"""Data from the user's own function."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.study.parts.data_config import OwnData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_source
from orchestrator.training.data.in_memory.own_data import load_own_data
from orchestrator.training.data.task import Task
from orchestrator.training.models.signature import Signature
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.training import user_data


def load(name: str, **arguments: object) -> DataSplits:
    return load_own_data(OwnData.model_validate({"name": f"tests.training.user_data:{name}", **arguments}))


def test_arguments_are_passed_and_numbers_are_kept() -> None:
    data = load("values", count=50)
    assert (len(data.train), len(data.validation), len(data.test)) == (45, 5, 10)
    assert data.task is Task.VALUES
    assert data.signature.outputs == 1
    assert torch.equal(data.test.inputs, user_data.values()[2])
    assert torch.equal(data.normalise(data.test.inputs), data.test.inputs)
    before = data.test.inputs.clone()
    data.shifted_test(slice(None))
    assert torch.equal(data.test.inputs, before)


def test_images_labels_and_tokens_are_recognised() -> None:
    images, labels, tokens = load("images"), load("labelled"), load("tokens")
    assert images.classes == ("a", "b", "c")
    assert images.has_images
    assert float(images.normalise(images.train.inputs).mean()) == pytest.approx(0.0, abs=1e-5)
    assert labels.task is Task.LABELS
    assert labels.signature.outputs == 4
    assert tokens.task is Task.TOKENS
    assert tokens.signature.vocabulary == 5


def test_sequences_have_classes() -> None:
    data = load("sequences", classes=3)
    assert data.task is Task.CLASSES
    assert data.classes == ("0", "1", "2")
    assert data.signature == Signature((6,), 3, 5, per_sequence=True)
    assert not load("tokens").signature.per_sequence


def test_arguments_named_like_options_of_images_are_only_passed() -> None:
    named = {"name": "tests.training.user_data:sequences", "classes": ["x", "y"], "normalise": "pixel"}
    data = load_source(OwnData.model_validate(named))
    assert data.classes == ("0", "1")
    assert len(data.train) + len(data.validation) == 40
    assert float(data.train.inputs.max()) == 4


def test_options_apply_to_own_data() -> None:
    config = {"name": "tests.training.user_data:values", "validation_fraction": 0.0, "train_subset": 8}
    data = load_source(OwnData.model_validate(config))
    assert (len(data.train), len(data.validation)) == (8, 0)


def test_random_numbers_have_to_be_seeded() -> None:
    with pytest.raises(ValueError, match="returned different data when it was called again: seed its random numbers"):
        load("unseeded")
    assert load("seeded_globally").digest == load("seeded_globally").digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returned NoneType, expected .*train inputs"),
        ("of_other_lengths", "returned 40 inputs and 39 targets as train"),
        ("not_finite", "returned train inputs that are not finite"),
        ("without_vocabulary", "returned int64 inputs, expected a mapping with their number of tokens as 'vocabulary'"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_wrong_data_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name)


NUMBERS, CLASSES = torch.arange(80.0).view(40, 2), torch.arange(40) % 3
TOKENS = torch.arange(80).view(40, 2) % 5


def same(inputs: Any, targets: Any, **more: Any) -> dict[str, Any]:
    """Returns data with equal training and test samples."""
    return {"train": (inputs, targets), "test": (inputs, targets), **more}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (same(torch.tensor(1.0), torch.tensor(1)), r"\['Tensor', 'Tensor'\] as train, expected a pair"),
        (same(NUMBERS.numpy(), CLASSES), r"\['ndarray', 'Tensor'\] as train, expected a pair of dense tensors"),
        (same(NUMBERS.to_sparse(), CLASSES), "expected a pair of dense tensors"),
        (same(NUMBERS.to(torch.complex64), CLASSES), "expected a pair of dense tensors"),
        (same(NUMBERS[:, :0], CLASSES), "train samples without numbers"),
        (same(NUMBERS.double() * 1e300, CLASSES), "train inputs that are not finite in float32"),
        ((NUMBERS, CLASSES, NUMBERS, CLASSES.float()), "int64 .* and torch.float32 .* as targets of one sample"),
        ((NUMBERS, NUMBERS, NUMBERS, NUMBERS[:, :1]), r"\(2,\) and torch.float32 \(1,\) as targets of one sample"),
        ((NUMBERS, NUMBERS, TOKENS, NUMBERS), "float32 .* and torch.int64 .* as inputs of one sample"),
        (same(NUMBERS, CLASSES - 1), "a class -1 of 2 classes"),
        (same(NUMBERS, CLASSES, classes=["a", "b"]), "a class 2 of 2 classes"),
        (same(NUMBERS, CLASSES, classes=["a", "b", "a"]), "the classes a, b, a, expected at least two different names"),
        (same(NUMBERS, CLASSES, classes="abc"), "classes 'abc', expected their number or a list"),
        (same(NUMBERS, CLASSES, classes=None), "classes None, expected their number or a list"),
        (same(NUMBERS, CLASSES, classes=3.0), "classes 3.0, expected their number or a list"),
        (same(NUMBERS, CLASSES.float(), classes=3), r"targets of shape \(40, 1\) with 'classes', expected int64"),
        (same(NUMBERS, CLASSES, vocabulary=5), "float32 inputs with 'vocabulary', expected int64 tokens"),
        (same(TOKENS.float(), NUMBERS, vocabulary=5), "float32 inputs with 'vocabulary', expected int64 tokens"),
        (same(NUMBERS, CLASSES * 0), "the classes 0, expected at least two"),
        (same(NUMBERS, torch.ones(40)), "training targets whose value 0 is constant, expected targets that vary"),
        (same(NUMBERS, NUMBERS, labels=True), "other labels than 0 and 1"),
        (same(NUMBERS, TOKENS), "float32 inputs and torch.int64 targets of shapes"),
        (same(TOKENS, CLASSES), r"int64 inputs, expected a mapping with their number of tokens as 'vocabulary'"),
        (same(TOKENS, CLASSES, vocabulary=5, classes=2), "a class 2 of 2 classes"),
        (same(TOKENS, NUMBERS, vocabulary=5), r"expected int64 classes \[n\], or int64 targets like"),
        (same(TOKENS, TOKENS[:, :1], vocabulary=5), "or int64 targets like the inputs for tokens"),
        (same(TOKENS, TOKENS, vocabulary=3), r"tokens 0..4 as inputs, expected tokens in 0..2"),
        (same(TOKENS, TOKENS + 1, vocabulary=5), r"tokens 1..5 as targets, expected tokens in 0..4"),
        (same(TOKENS, TOKENS, vocabulary=True), "expected a mapping with their number of tokens"),
        (same(TOKENS, TOKENS * 0 - 100, vocabulary=5), "only -100 as targets"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch, returned: Any, message: str) -> None:
    monkeypatch.setattr(user_data, "values", lambda: returned)
    with pytest.raises(ValueError, match=message):
        load("values")


def test_tensors_of_other_dtypes_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_data, "values", lambda: same(NUMBERS[:, 0].double(), CLASSES.int()))
    numbers = load("values")
    assert numbers.signature.input_shape == (1,)
    assert numbers.train.targets.dtype == torch.int64
    monkeypatch.setattr(user_data, "values", lambda: same(NUMBERS, TOKENS > 2, labels=True))
    assert load("values").task is Task.LABELS


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_random_numbers_of_python_and_numpy_have_to_be_seeded(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[[], float]
) -> None:
    monkeypatch.setattr(user_data, "values", lambda: same(NUMBERS + draw(), CLASSES))
    with pytest.raises(ValueError, match="returned different data when it was called again"):
        load("values")


def test_an_exception_is_reported_with_its_cause() -> None:
    with pytest.raises(UserCodeError, match="data '.*raising' raised when called: RuntimeError: no such server"):
        load("raising")
