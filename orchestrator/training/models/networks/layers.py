"""Activations, hidden layers and initial weights of `cnn` and `mlp`."""

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
def initialise(model: nn.Module, config: CnnConfig | MlpConfig) -> None:
    """Sets the initial weights of linear and convolutional layers, which have torch's default. Other parameters stay.

    With `kaiming_normal` they are drawn from torch's global generator.
    """
    for layer in model.modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        if config.init == "kaiming_normal":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None, "all layers have a bias"
            nn.init.zeros_(layer.bias)
        layer.weight.mul_(config.init_scale)
