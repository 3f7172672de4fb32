"""Checks of model outputs and batch sizes."""

import pytest
import torch
from torch import nn

from orchestrator.training.models.checks import check_batches, check_outputs
from orchestrator.training.models.signature import Signature
from tests.training.models.built import IMAGES, TOKENS, built
from tests.training.user_nets import Predicts


class Recurrent(nn.Sequential):
    """Returns a tuple, as torch's recurrent layers do."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(1, 2), nn.LSTM(8, 10, batch_first=True))


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (built(Signature((1, 8, 8), 7), "mlp", hidden=[3]), r"\(2, 7\)"),
        (nn.Flatten(0), r"\(128,\)"),
        (Recurrent(), "tuple"),
    ],
)
def test_a_model_whose_output_does_not_fit_the_data_is_refused(model: nn.Module, given: str) -> None:
    model.train()
    message = rf"'mine' gives {given} for 2 images of shape \(1, 8, 8\), expected \(2, 10\): set the size of the last"
    with pytest.raises(ValueError, match=message):
        check_outputs(model, "mine", IMAGES)
    assert model.training


def test_a_model_whose_outputs_are_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="gives outputs of torch.int64, expected floating-point numbers"):
        check_outputs(Predicts(), "mine", IMAGES)


def test_a_model_over_tokens_needs_outputs_at_every_position() -> None:
    check_outputs(nn.Embedding(7, 4), "mine", TOKENS)
    last = nn.Sequential(nn.Embedding(7, 2), nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(ValueError, match=r"gives \(2, 4\) for 2 token sequences of shape \(6,\) .* \(2, 6, 4\)"):
        check_outputs(last, "mine", TOKENS)


@pytest.mark.parametrize(
    ("images", "batch_size", "message"),
    [
        (
            1294,
            1,
            "batches of 1 have a single image each, and model 'cnn' has batch norm, which needs at least 2 images",
        ),
        (
            129,
            64,
            "batches of 64 leave a last batch of 1 of 129 training images, .*: set another batch_size or data.tr",
        ),
        (1, 64, "leave a last batch of 1 of 1 training images"),
    ],
)
def test_batch_norm_refuses_a_batch_of_one_image(images: int, batch_size: int, message: str) -> None:
    model = built(IMAGES, "cnn", batch_norm=True)
    with pytest.raises(ValueError, match=message):
        check_batches(model, "cnn", images, batch_size)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.zeros(1, 1, 8, 8))  # the torch error that the check prevents
    check_batches(built(IMAGES, "cnn"), "cnn", images, batch_size)


@pytest.mark.parametrize(("images", "batch_size"), [(130, 64), (128, 64), (2, 64), (127, 64)])
def test_larger_batches_are_accepted(images: int, batch_size: int) -> None:
    check_batches(built(IMAGES, "cnn", batch_norm=True), "cnn", images, batch_size)


def test_group_norm_accepts_a_batch_of_one_image() -> None:
    small = {"depth": 8, "width": 2}
    with pytest.raises(ValueError, match="'resnet' has batch norm"):
        check_batches(built(IMAGES, "resnet", **small), "resnet", 5, 1)
    check_batches(built(IMAGES, "resnet", norm="group", **small), "resnet", 5, 1)
