"""Data from the user's own function."""

import pytest
import torch

from orchestrator.study.data_config import OwnData
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_source
from orchestrator.training.data.own_data import load_own_data
from orchestrator.training.data.task import Task
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


def test_an_exception_is_reported_with_its_cause() -> None:
    with pytest.raises(UserCodeError, match="data '.*raising' raised when called: RuntimeError: no such server"):
        load("raising")
