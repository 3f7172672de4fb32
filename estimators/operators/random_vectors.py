"""Random vectors for an operator: the same numbers on every device."""

from typing import Literal

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator

Distribution = Literal["gaussian", "rademacher"]


def random_vector(
    op: SymmetricOperator, generator: torch.Generator | None, distribution: Distribution = "gaussian"
) -> Tensor:
    """[size] independent entries, standard normal or +-1, drawn where the generator lives, then moved to the operator.

    Without a generator they come from torch's global CPU stream, which moves on.
    """
    where = torch.device("cpu") if generator is None else generator.device
    if distribution == "gaussian":
        vector = torch.randn(op.size, generator=generator, dtype=op.dtype, device=where)
    else:
        vector = torch.randint(0, 2, (op.size,), generator=generator, dtype=op.dtype, device=where).mul_(2).sub_(1)
    crosses = op.device.type == "cuda" and where.type == "cpu"
    # From pinned memory, so that no GPU is waited for.
    return vector.pin_memory().to(op.device, non_blocking=True) if crosses else vector.to(op.device)
