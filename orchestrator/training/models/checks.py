"""Checks that a model fits its data and batch size."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from orchestrator.training.models.signature import Signature
from orchestrator.training.models.user_code import NETWORK


def check_outputs(model: nn.Module, name: str, signature: Signature) -> None:
    """Raises ValueError if a model does not return outputs of the expected shape."""
    training = model.training
    dtype = torch.float32 if signature.vocabulary is None else torch.int64
    with torch.no_grad(), NETWORK.errors(name, f"called with 2 {signature.inputs}"):
        outputs = model.eval()(torch.zeros(2, *signature.input_shape, dtype=dtype))
    model.train(training)
    given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    expected = (2, *signature.output_shape)
    if given != expected:
        raise ValueError(
            f"model {name!r} gives {given} for 2 {signature.inputs}, expected {expected}: set the size of the last "
            "layer"
        )
    if not outputs.is_floating_point():
        raise ValueError(
            f"model {name!r} gives outputs of {outputs.dtype}, expected floating-point numbers: return logits or "
            "values, not predicted classes"
        )


def check_batches(model: nn.Module, name: str, images: int, batch_size: int) -> None:
    """Raises ValueError if a model has batch norm and would train on a batch of one image.

    Args:
        model: any model. Without batch norm every batch size is accepted.
        name: name of the model, for the error message.
        images: number of training images.
        batch_size: as configured. The last batch of an epoch may be smaller.
    """
    if (images % batch_size or batch_size) != 1 or not any(isinstance(layer, _BatchNorm) for layer in model.modules()):
        return
    problem = "have a single image each" if batch_size == 1 else f"leave a last batch of 1 of {images} training images"
    raise ValueError(
        f"batches of {batch_size} {problem}, and model {name!r} has batch norm, which needs at least 2 images to "
        "normalise over: set another batch_size or data.train_subset"
    )
