"""The blocks of layers against those of the dense Hessian."""

import pytest
import torch
from torch import nn

from tests.training.measurement.measured import trained

EXACT = {"name": "layers", "products": 60, "tolerance": 1e-10}
BLOCKS = {"0": slice(0, 40), "2": slice(40, 67)}


def test_eigenvalues_and_traces_agree_with_the_dense_blocks() -> None:
    at = trained({"name": "sgd", "lr": 0.1})
    found, hessian = at.measure(EXACT, "exact_trace").metrics(), at.hessian
    assert {key.split("/")[1] for key in found if key.startswith("layers/")} == set(BLOCKS)
    for layer, block in BLOCKS.items():
        dense = hessian[block, block]
        assert found[f"layers/{layer}/lambda_max"] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-7)
        assert found[f"layers/{layer}/lambda_max_residual"] < 1e-4
        assert found[f"layers/{layer}/trace"] == pytest.approx(float(dense.trace()), rel=1e-9)


def test_traces_are_left_out_if_they_would_need_probes_or_are_not_measured() -> None:
    without = trained({"name": "sgd", "lr": 0.1}).measure(EXACT).metrics()
    smooth = trained({"name": "sgd", "lr": 0.1}, layer=nn.Tanh).measure(EXACT, "exact_trace").metrics()
    for found in (without, smooth):
        assert "layers/0/lambda_max" in found
        assert "layers/0/trace" not in found
