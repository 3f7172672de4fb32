"""Conversion to channels_last."""

import torch

from estimators.kernels.channels_last import is_channels_last, to_channels_last


def test_images_already_in_channels_last_are_not_copied() -> None:
    images = torch.arange(2.0 * 3 * 4 * 5).view(2, 3, 4, 5)
    converted = to_channels_last(images)
    assert converted.stride(1) == 1 and torch.equal(converted, images)
    assert (is_channels_last(images), is_channels_last(converted)) == (False, True)
    assert to_channels_last(converted) is converted


def test_a_single_channel_has_both_formats() -> None:
    assert not is_channels_last(torch.zeros(2, 1, 4, 5))
