"""Checkpointed blocks keep torch's operations, so they can run again in the backward pass."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from estimators import GaussNewtonOperator, HessianOperator, dense_hessian, exact_trace
from tests.estimators.cases import assert_relatively_close, columns, convolutional, images, random_vector

F = nn.functional


class Checkpointed(nn.Module):
    """A network with its first layers and its last layers in two checkpointed blocks."""

    def __init__(self, body: nn.Sequential, split: int) -> None:
        super().__init__()
        self.body, self.split = body, split

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = checkpoint(self.body[: self.split], inputs, use_reentrant=False)
        outputs: Tensor = checkpoint(self.body[self.split :], hidden, use_reentrant=False)
        return outputs


def plain() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = convolutional()
    assert isinstance(body, nn.Sequential)
    return body


@pytest.mark.parametrize(
    ("split", "dtype"), [(1, torch.float64), (2, torch.float64), (3, torch.float64), (2, torch.float32)]
)
def test_checkpointed_networks_equal_plain_ones(split: int, dtype: torch.dtype) -> None:
    inputs, targets = images(8)
    data = inputs.to(dtype), targets
    body = plain().to(dtype)
    model = Checkpointed(body, split)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    dense = dense_hessian(plain().double(), F.cross_entropy, images(8)).to(dtype)
    assert_relatively_close(dense_hessian(model, F.cross_entropy, data), dense, tolerance)
    op = HessianOperator(model, F.cross_entropy, data, chunk_size=3)
    block = columns(op, 3)
    assert_relatively_close(op @ block, dense @ block, tolerance)
    with op.keeping_graphs():
        for _ in range(2):
            assert_relatively_close(op @ block[:, 0], dense @ block[:, 0], tolerance)
    expected = exact_trace(body, F.cross_entropy, data).value
    assert abs(exact_trace(model, F.cross_entropy, data).value - expected) < tolerance * expected
    ours, theirs = (GaussNewtonOperator(m, F.cross_entropy, data, chunk_size=3) for m in (model, body))
    assert_relatively_close(ours @ random_vector(ours), theirs @ random_vector(theirs), tolerance)
