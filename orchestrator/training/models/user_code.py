"""Builds the user's own networks."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import nn

from orchestrator.study.model_config import ModuleConfig
from orchestrator.training.user_code.extension_point import ExtensionPoint, check_arguments, named_parameters, shown

NETWORK = ExtensionPoint("model", nn.Module, "torch.nn.Module")


def build_user_model(
    config: ModuleConfig, shape: tuple[int, int, int], classes: int, before_call: Callable[[], None]
) -> nn.Module:
    """Instantiates the class named in a config, with the config's arguments as keyword arguments.

    `shape` and `classes` are passed too if the signature has them and the config does not set them.

    Args:
        config: names the class.
        shape: channels, height and width of an image.
        classes: number of classes.
        before_call: called after the import and before the class is instantiated. It seeds the random generator.

    Raises:
        ValueError: if the module or class does not exist, is not a torch.nn.Module, does not take the arguments, or
            has no trainable parameter.
        UserCodeError: if the module or the class raises.
    """
    network = NETWORK.find(config.name)
    arguments = _arguments(config, network, {"shape": shape, "classes": classes})
    before_call()
    with NETWORK.errors(config.name, f"called with {shown(arguments)}"):
        model: nn.Module = network(**arguments)
    # Lazy parameters have no size before the first pass, so this counts parameters, not their elements.
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model {config.name!r} has no parameter that requires grad: there is nothing to train")
    return model


def _arguments(config: ModuleConfig, network: type[nn.Module], offered: dict[str, Any]) -> dict[str, Any]:
    named = named_parameters(network)
    arguments = {key: value for key, value in offered.items() if key in named} | deepcopy(config.arguments)
    check_arguments(f"model {config.name!r}", network, (), arguments)
    return arguments
