"""Random vectors for an operator, with the same numbers on every device."""

from typing import Literal

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator

Distribution = Literal["gaussian", "rademacher"]


def random_vector(
    op: SymmetricOperator, generator: torch.Generator | None, distribution: Distribution = "gaussian"
) -> Tensor:
    """Independent entries [size], standard normal or +-1, drawn on the generator's device and moved to the operator's.

    Without a generator they are drawn from torch's global CPU stream.
    """
    source = torch.device("cpu") if generator is None else generator.device
    if distribution == "gaussian":
        vector = torch.randn(op.size, generator=generator, dtype=op.dtype, device=source)
    else:
        vector = torch.randint(0, 2, (op.size,), generator=generator, dtype=op.dtype, device=source).mul_(2).sub_(1)
    from_host = op.device.type == "cuda" and source.type == "cpu"
    # Pinned memory, so that the copy does not wait for the GPU.
    return vector.pin_memory().to(op.device, non_blocking=True) if from_host else vector.to(op.device)
