"""The memory format of images in the evaluation of a model."""

import torch
from torch import nn

from orchestrator.training.models.networks.cnn import Cnn
from orchestrator.training.models.networks.resnet import Resnet


def evaluation_memory_format(model: nn.Module) -> torch.memory_format:
    """Returns the memory format of the images in the evaluation of a model.

    With `channels_last` the cnn's forward pass is three times as fast on a CPU, and the resnet's a third faster. Other
    models get contiguous images. The mlp would only convert them back, the vit is not faster, and a user's own network
    may call `view`, which fails on `channels_last`.
    """
    return torch.channels_last if isinstance(model, Cnn | Resnet) else torch.contiguous_format
