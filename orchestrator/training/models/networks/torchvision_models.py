"""The classification networks of torchvision, without pretrained weights."""

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from orchestrator.study.parts.model_config import TorchvisionConfig
from orchestrator.training.models.signature import Signature, image_shape

_CHANNELS = 3
_ONE_OUTPUT: dict[str, Any] = {"aux_logits": False, "init_weights": True}
"""Arguments of the two architectures that return several outputs in training by default."""
_SEVERAL_OUTPUTS = ("googlenet", "inception_v3")


def torchvision_model(config: TorchvisionConfig, signature: Signature, before_call: Callable[[], None]) -> nn.Module:
    """Instantiates an architecture of torchvision for images of three channels.

    Args:
        config: names the architecture. Its other keys are keyword arguments.
        signature: the images and the number of outputs.
        before_call: called before the architecture is instantiated. It seeds the random generator.

    Raises:
        ValueError: if torchvision is missing, or the architecture does not accept the arguments or the images.
    """
    name, arguments = config.architecture, config.arguments
    channels, _, _ = image_shape(signature, config.name)
    builder = _builder(name)
    if channels != _CHANNELS:
        raise ValueError(
            f"model torchvision needs images of {_CHANNELS} channels, but the data has {signature.inputs}: use data of "
            "colour images, or the model cnn, mlp, resnet or vit"
        )
    before_call()
    fixed = _ONE_OUTPUT if name in _SEVERAL_OUTPUTS else {}
    try:
        model: nn.Module = builder(weights=None, num_classes=signature.outputs, **fixed, **arguments)
    except Exception as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"
        raise ValueError(
            f"model torchvision cannot build {name!r} with {shown}: {error}; see its arguments in torchvision's "
            "documentation"
        ) from error
    _check_images(model, name, signature)
    return model


def _builder(name: str) -> Callable[..., nn.Module]:
    try:
        from torchvision import models
    except ImportError:
        raise ValueError("model torchvision needs torchvision: pip install 'hessian-dynamics[sweep]'") from None
    architectures = models.list_models(module=models)
    if name not in architectures:
        close = difflib.get_close_matches(name, architectures, n=3)
        raise ValueError(
            f"model torchvision has no architecture {name!r}, expected one of its {len(architectures)} classification "
            f"networks: {'did you mean ' + ', '.join(close) + '?' if close else 'for example resnet18'}"
        )
    builder: Callable[..., nn.Module] = models.get_model_builder(name)
    return builder


def _check_images(model: nn.Module, name: str, signature: Signature) -> None:
    """Raises ValueError if the architecture does not accept images of this size."""
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, *signature.input_shape))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"model torchvision: {name!r} does not accept {signature.inputs} ({reason}): choose "
            "another architecture, set its image_size if it has one, or use larger images"
        ) from error
    model.train()
