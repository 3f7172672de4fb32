"""Activations, hidden layers and the scale of initial weights of `cnn` and `mlp`."""

import torch
from torch import nn

from orchestrator.study.parts.model_config import Activation, CnnConfig, MlpConfig

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}


def activation(name: Activation) -> nn.Module:
    """Returns a new activation with torch's default settings: slope 0.01 for leaky ReLU, the exact GELU."""
    return _ACTIVATIONS[name]()


def hidden_layer(inputs: int, width: int, config: CnnConfig | MlpConfig) -> list[nn.Module]:
    """Returns a linear layer, batch norm, activation and dropout; batch norm and dropout only if configured."""
    norm = [nn.BatchNorm1d(width)] if config.batch_norm else []
    drop = [nn.Dropout(config.dropout)] if config.dropout > 0 else []
    return [nn.Linear(inputs, width), *norm, activation(config.activation), *drop]


@torch.no_grad()
def scale_weights(model: nn.Module, factor: float) -> None:
    """Multiplies the weights of every linear and convolutional layer by a factor. All other parameters stay."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.weight.mul_(factor)
