"""How images lie in memory: channel by channel, as they come, or with the channels of a pixel side by side.

A processor's kernels for convolutions and pools want the second (torch's ``channels_last``). From the first they turn
images around and back in every call, and where both meet in one operation it takes several times as long.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

# The same sums in another order, relative to the largest.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-9}


def by_pixel(images: Tensor) -> Tensor:
    """[n, channels, height, width], the channels of a pixel side by side."""
    return images.contiguous(memory_format=torch.channels_last)


def is_by_pixel(images: Tensor) -> bool:
    """Whether they lie so, and in no other way: a single channel lies in both."""
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def laid_out_as(images: Tensor, like: Tensor) -> Tensor:
    """The images as ``like`` lies, if that is by pixel."""
    return by_pixel(images) if is_by_pixel(like) else images


def works_by_pixel(model: nn.Module, images: Tensor, computed: Callable[[Tensor], Sequence[Tensor]]) -> bool:
    """Whether images should lie by pixel: on a CPU, for a model with convolutions, to which it makes no difference.

    One that views images as vectors raises, and one that reads strides may do anything: so it is tried. In one try of
    some five hundred two entries of a pool are so near that rounding makes another the largest: by channel, then, which
    costs time only.

    Args:
        model: what will be computed of.
        images: some inputs of it [n, ...], of any kind.
        computed: everything of that kind, of those inputs.
    """
    if images.device.type != "cpu" or images.ndim != 4 or not any(isinstance(m, nn.Conv2d) for m in model.modules()):
        return False
    try:
        expected, found = computed(images), computed(by_pixel(images))
    except Exception:  # The model's own, of any kind: by channel it comes again where it can be understood.
        return False
    return all(same_but_for_rounding(*pair) for pair in zip(found, expected, strict=True))


def same_but_for_rounding(found: Tensor, expected: Tensor) -> bool:
    """Within rounding of the largest; NaN says nothing."""
    bound = _ROUNDING.get(expected.dtype, max(_ROUNDING.values())) * expected.abs().max()
    return not bool(((found - expected).abs() > bound).any())
