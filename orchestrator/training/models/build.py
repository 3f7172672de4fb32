"""Builds the network of a trial from its config and the signature of its data."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from orchestrator.study.parts.fields import Config
from orchestrator.study.parts.model_config import (
    CnnConfig,
    GruConfig,
    LstmConfig,
    MlpConfig,
    Model,
    ModuleConfig,
    ResnetConfig,
    TorchvisionConfig,
    TransformerConfig,
    VitConfig,
)
from orchestrator.training.models.checks import check_outputs
from orchestrator.training.models.networks.cnn import Cnn
from orchestrator.training.models.networks.mlp import Mlp
from orchestrator.training.models.networks.recurrent import Recurrent
from orchestrator.training.models.networks.resnet import Resnet
from orchestrator.training.models.networks.torchvision_models import torchvision_model
from orchestrator.training.models.networks.transformer import Transformer
from orchestrator.training.models.networks.vit import Vit
from orchestrator.training.models.signature import Signature
from orchestrator.training.models.user_code import build_user_model
from orchestrator.training.streams import derived_seed

_NETWORKS: dict[type[Config], Callable[[Any, Signature], nn.Module]] = {
    CnnConfig: Cnn,
    MlpConfig: Mlp,
    ResnetConfig: Resnet,
    VitConfig: Vit,
    TransformerConfig: Transformer,
    LstmConfig: Recurrent,
    GruConfig: Recurrent,
}


def build_model(config: Model, signature: Signature, seed: int) -> nn.Module:
    """Returns a model with initial weights drawn on the CPU from the seed, so they are the same for every device.

    Raises:
        ValueError: if the network does not fit the data, or cannot be imported or called.
        UserCodeError: if the user's own network raises.
    """

    def seed_weights() -> None:
        torch.manual_seed(derived_seed(seed, "initial weights"))

    with torch.random.fork_rng(devices=[]):
        match config:
            case ModuleConfig():
                model = build_user_model(config, signature, seed_weights)
            case TorchvisionConfig():
                model = torchvision_model(config, signature, seed_weights)
            case _:
                seed_weights()
                model = _NETWORKS[type(config)](config, signature)
        # Must be inside `fork_rng`, since lazy layers draw their weights in the first forward pass.
        check_outputs(model, config.name, signature)
    return model
