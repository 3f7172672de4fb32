"""Builds the user's own networks."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import nn

from orchestrator.study.parts.model_config import ModuleConfig
from orchestrator.training.models.signature import Signature
from orchestrator.training.user_code.extension_point import ExtensionPoint, check_arguments, named_parameters, shown

NETWORK = ExtensionPoint("model", nn.Module, "torch.nn.Module")


def build_user_model(config: ModuleConfig, signature: Signature, before_call: Callable[[], None]) -> nn.Module:
    """Instantiates the class named in a config, with the config's arguments as keyword arguments.

    `input_shape`, `outputs` and `vocabulary` are passed, too, if the class has such parameters and the config does not
    set them. `shape` and `classes` are other names of the first two.

    Args:
        config: names the class.
        signature: shapes of inputs and outputs.
        before_call: called after the import and before the class is instantiated. It seeds the random generator.

    Raises:
        ValueError: if the module or class does not exist, is not a torch.nn.Module, does not take the arguments, or
            has no trainable parameter.
        UserCodeError: if the module or the class raises.
    """
    network = NETWORK.find(config.name)
    arguments = _arguments(config, network, _offered(signature))
    before_call()
    with NETWORK.errors(config.name, f"called with {shown(arguments)}"):
        model: nn.Module = network(**arguments)
    # Lazy parameters have no size before the first pass, so this counts parameters, not their elements.
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model {config.name!r} has no parameter that requires grad: there is nothing to train")
    return model


def _offered(signature: Signature) -> dict[str, Any]:
    shape, outputs = signature.input_shape, signature.outputs
    names = {"input_shape": shape, "outputs": outputs, "vocabulary": signature.vocabulary}
    return {"shape": shape, "classes": outputs, **names}


def _arguments(config: ModuleConfig, network: type[nn.Module], offered: dict[str, Any]) -> dict[str, Any]:
    named = named_parameters(network)
    arguments = {key: value for key, value in offered.items() if key in named} | deepcopy(config.arguments)
    check_arguments(f"model {config.name!r}", network, (), arguments)
    return arguments
