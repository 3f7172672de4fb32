"""The memory format of images in the training and the evaluation of a model."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from estimators.problem.memory_format import prefers_channels_last
from orchestrator.training.models.networks.cnn import Cnn
from orchestrator.training.models.networks.resnet import Resnet

_MOST_CHANNELS = 128
"""Maximum number of input channels of a convolution over several pixels. With up to 512 channels, torchvision's
resnet18 takes up to a third more time in `channels_last`."""


def trains_in_channels_last(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> bool:
    """Whether to convert the images of training batches to `channels_last`, by the rule of Hessian-vector products.

    They are converted only on a CPU, and only if the model has convolutions, none of them wide. A copy of the model is
    tested on two images. In eval mode, both formats must give the same outputs and gradient up to rounding. In train
    mode, both must run without an error. Changes neither the model nor torch's random streams.

    Args:
        model: on the device of the inputs.
        inputs: normalised inputs [n, ...]; the first two are used for the test.
        targets: targets [n, ...].
        loss: the mean loss, a function of outputs and targets.
    """

    def compute(images: Tensor) -> list[Tensor]:
        tried = copy.deepcopy(model)
        trained = [parameter for parameter in tried.parameters() if parameter.requires_grad]
        outputs = tried.eval()(images)
        gradient = torch.autograd.grad(loss(outputs, targets[:2]), trained, materialize_grads=True)
        # Results in train mode are not compared, since dropout may draw another mask for another format.
        loss(tried.train()(images), targets[:2]).backward()
        return [outputs, torch.cat([part.to_dense().reshape(-1) for part in gradient])]

    if any(_is_wide(layer) for layer in model.modules()):
        return False
    with torch.random.fork_rng(devices=[]):
        return prefers_channels_last(model, inputs[:2], compute)


def _is_wide(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that is slow in `channels_last`."""
    if not isinstance(layer, nn.Conv2d):
        return False
    return max(layer.kernel_size) > 1 and layer.in_channels // layer.groups > _MOST_CHANNELS


def evaluation_memory_format(model: nn.Module) -> torch.memory_format:
    """Returns the memory format of the images in the evaluation of a model.

    With `channels_last` the cnn's forward pass is three times as fast on a CPU, and the resnet's a third faster. Other
    models get contiguous images. The mlp would only convert them back, the vit is not faster, and a user's own network
    may call `view`, which fails on `channels_last`.
    """
    return torch.channels_last if isinstance(model, Cnn | Resnet) else torch.contiguous_format
