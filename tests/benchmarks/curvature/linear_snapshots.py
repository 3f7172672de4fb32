"""Snapshots of a linear layer, whose Hessian has a closed form, and images for them."""

import torch
from torch import nn

from benchmarks.curvature.snapshots import Snapshot


def snapshot(seed: int) -> Snapshot:
    torch.manual_seed(seed)
    return Snapshot("linear", "-", seed, "init", nn.Linear(4, 3))


IMAGES = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.arange(12) % 3
