"""Blocks cover all samples within their bytes; scratch memory is reused."""

import pytest
import torch

from estimators.kernels import blocks as module
from estimators.kernels.blocks import Scratch, blocks


def test_blocks_cover_the_samples_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", {"cpu": 100})
    like = torch.zeros(1, dtype=torch.float64)
    assert list(blocks(7, 4, like)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    # A single sample may be larger than a block.
    assert list(blocks(2, 1000, like)) == [slice(0, 1), slice(1, 2)]
    assert list(blocks(0, 4, like)) == []


def test_scratch_memory_is_reused_by_name() -> None:
    scratch, like = Scratch(), torch.zeros(1)
    first = scratch.get("a", (2, 3), like)
    assert first.shape == (2, 3) and first.dtype == like.dtype
    assert scratch.get("a", (3,), like).data_ptr() == first.data_ptr()
    assert scratch.get("b", (3,), like).data_ptr() != first.data_ptr()
    assert scratch.get("a", (100,), like).data_ptr() != first.data_ptr()
    assert scratch.get("a", (2,), like.double()).dtype == torch.float64
