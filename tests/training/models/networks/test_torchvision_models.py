"""Networks of torchvision."""

from typing import Any

import pytest
import torch

from orchestrator.training.models.signature import Signature
from tests.training.models.built import IMAGES, built, parameters

COLOUR = Signature((3, 32, 32), 10)


def test_outputs_and_arguments_reach_the_architecture() -> None:
    model = built(Signature((3, 32, 32), 7), "torchvision", architecture="mobilenet_v3_small", width_mult=0.25)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert parameters(model) < parameters(built(COLOUR, "torchvision", architecture="mobilenet_v3_small")) / 5


@pytest.mark.parametrize(
    ("signature", "settings", "message"),
    [
        (
            COLOUR,
            {"architecture": "resnet81"},
            r"no architecture 'resnet81', expected one of .* did you mean res",
        ),
        (COLOUR, {"architecture": "qqqq"}, "no architecture 'qqqq'.* for example resnet18"),
        (COLOUR, {"architecture": "fasterrcnn_resnet50_fpn"}, "no architecture 'fasterrcnn_resnet50_fpn'"),
        (
            COLOUR,
            {"architecture": "squeezenet1_1", "depth": 3},
            r"cannot build 'squeezenet1_1' with depth=3: .*unexpected keyword argument 'depth'; see its arguments",
        ),
        (IMAGES, {"architecture": "resnet18"}, r"needs images of 3 channels, .* shape \(1, 8, 8\): use data of colour"),
        (COLOUR, {"architecture": "alexnet"}, r"'alexnet' does not accept images of shape \(3, 32, 32\) \(.*larger"),
    ],
)
def test_what_does_not_fit_is_refused(signature: Signature, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(signature, "torchvision", **settings)


def test_architectures_with_auxiliary_outputs_return_one_tensor_in_training() -> None:
    model = built(COLOUR, "torchvision", architecture="googlenet")
    assert model.training
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
