"""Random vectors for an operator. The numbers do not depend on the operator's device."""

from typing import Literal

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator

Distribution = Literal["gaussian", "rademacher"]


def random_vector(
    op: SymmetricOperator, generator: torch.Generator | None, distribution: Distribution = "gaussian"
) -> Tensor:
    """Draws a vector [size] of independent standard normal or +-1 entries on the generator's device.

    The vector is then moved to the operator's device. Without a generator, torch's global CPU generator is used.
    """
    source = torch.device("cpu") if generator is None else generator.device
    if distribution == "gaussian":
        vector = torch.randn(op.size, generator=generator, dtype=op.dtype, device=source)
    else:
        vector = torch.randint(0, 2, (op.size,), generator=generator, dtype=op.dtype, device=source).mul_(2).sub_(1)
    from_host = op.device.type == "cuda" and source.type == "cpu"
    # With pinned memory, the copy does not wait for the GPU.
    return vector.pin_memory().to(op.device, non_blocking=True) if from_host else vector.to(op.device)
