"""Chooses the memory format of images: channels_last on a CPU, if it does not change the model's results.

CPU kernels for convolution and pooling use channels_last internally. They convert contiguous images in every call, and
an operation that mixes both formats takes several times as long.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from estimators.kernels.channels_last import to_channels_last

_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-9}


def prefers_channels_last(model: nn.Module, images: Tensor, compute: Callable[[Tensor], Sequence[Tensor]]) -> bool:
    """Whether to convert images to channels_last: on a CPU, if the model has convolutions and its results stay equal.

    The results of both formats are compared. With channels_last, a model that flattens images with ``view`` raises an
    error, and a model that reads strides gives other results. About one comparison in 500 hits a near-tie in max
    pooling. The original format is then kept, which is only slower.

    Args:
        model: the model.
        images: a few inputs of the model [n, ...], of any shape.
        compute: function from such inputs to the results to compare.
    """
    if images.device.type != "cpu" or images.ndim != 4 or not any(isinstance(m, nn.Conv2d) for m in model.modules()):
        return False
    try:
        expected, found = compute(images), compute(to_channels_last(images))
    except Exception:  # If the model itself is at fault, it fails again later on the original images.
        return False
    return all(same_but_for_rounding(*pair) for pair in zip(found, expected, strict=True))


def same_but_for_rounding(found: Tensor, expected: Tensor) -> bool:
    """Whether all entries agree up to rounding, relative to the largest entry. NaN agrees with everything."""
    bound = relative_rounding(expected.dtype) * expected.abs().max()
    return not bool(((found - expected).abs() > bound).any())


def relative_rounding(dtype: torch.dtype) -> float:
    """Bound on the differences caused by another order of summation, relative to the largest entry."""
    return _ROUNDING.get(dtype, max(_ROUNDING.values()))
