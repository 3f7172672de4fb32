"""The shapes of inputs and outputs, and the errors of networks that do not fit them."""

import pytest

from orchestrator.training.models.signature import Signature
from tests.training.models.built import FEATURES, IMAGES, TOKENS, built


def test_tokens_have_outputs_at_every_position() -> None:
    assert [s.output_shape for s in (IMAGES, FEATURES, TOKENS)] == [(10,), (3,), (6, 4)]
    assert Signature((6,), 4, 7, per_sequence=True).output_shape == (4,)


@pytest.mark.parametrize(
    ("signature", "name", "message"),
    [
        (
            FEATURES,
            "cnn",
            r"model cnn needs images of shape \(channels, height, width\), but the data has feature vectors of shape "
            r"\(5,\): use data of images, or the model mlp$",
        ),
        (
            TOKENS,
            "vit",
            r"vit needs images .*, but the data has token sequences of shape \(6,\) with a vocabulary of 7: use data "
            r"of images, or the model transformer, lstm or gru$",
        ),
        (
            IMAGES,
            "transformer",
            r"transformer needs sequences of tokens, but the data has images of shape \(1, 8, 8\): use data of token "
            r"sequences, or the model cnn, mlp, resnet, vit or torchvision$",
        ),
        (FEATURES, "lstm", r"lstm needs sequences of tokens, but the data has feature vectors"),
        (FEATURES, "gru", r"gru needs sequences of tokens"),
        (TOKENS, "mlp", r"mlp needs numeric inputs .*: use numeric data, or the model transformer, lstm or gru$"),
        (TOKENS, "resnet", r"resnet needs images"),
        (Signature((4, 3), 2), "cnn", r"the data has inputs of shape \(4, 3\): use data of images, or the model mlp$"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused(signature: Signature, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(signature, name)


def test_torchvision_needs_images() -> None:
    with pytest.raises(ValueError, match="torchvision needs images .* the model mlp"):
        built(FEATURES, "torchvision", architecture="resnet18")
