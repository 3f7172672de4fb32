"""A multilayer perceptron."""

from itertools import chain
from math import prod

from torch import nn

from orchestrator.study.parts.model_config import MlpConfig
from orchestrator.training.models.networks.layers import hidden_layer, initialise
from orchestrator.training.models.signature import Signature, check_numeric


class Mlp(nn.Sequential):
    """Hidden layers on the flattened input, which may have any shape. Batch norm and dropout are placed as in `Cnn`."""

    def __init__(self, config: MlpConfig, signature: Signature) -> None:
        check_numeric(signature, config.name)
        sizes = zip((prod(signature.input_shape), *config.hidden[:-1]), config.hidden, strict=True)
        layers = [hidden_layer(inputs, width, config) for inputs, width in sizes]
        super().__init__(nn.Flatten(), *chain.from_iterable(layers), nn.Linear(config.hidden[-1], signature.outputs))
        initialise(self, config)
