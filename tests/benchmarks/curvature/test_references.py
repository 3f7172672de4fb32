"""Lookup of references by digest."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.curvature.references import REFERENCES, Reference, References, read
from tests.benchmarks.curvature.linear_snapshots import IMAGES, LABELS, snapshot


def test_reference_is_computed_once_per_weights(tmp_path: Path) -> None:
    path = tmp_path / "references.json"
    first = References(path).get(snapshot(0), IMAGES, LABELS)
    # Hessian of the cross-entropy of a linear layer: mean of (diag(p) - pp') (x) (x, 1)(x, 1)', in float64.
    model = snapshot(0).model.double()
    inputs = torch.cat([IMAGES.double(), torch.ones(12, 1).double()], dim=1)
    p = model(IMAGES.double()).softmax(1).detach()
    parts = [torch.kron(torch.diag(a) - a[:, None] * a, x[:, None] * x) for a, x in zip(p, inputs, strict=True)]
    hessian = torch.stack(parts).mean(0)
    assert first.lambda_max == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-6)
    path.write_text(path.read_text().replace(str(first.lambda_max), "7.0"))
    assert References(path).get(snapshot(0), IMAGES, LABELS) == replace(first, lambda_max=7.0)
    assert References(path).get(snapshot(1), IMAGES, LABELS).lambda_max != 7.0
    assert len(read(path, Reference)) == 2
    assert References(path).recompute(snapshot(0), IMAGES, LABELS).lambda_max == pytest.approx(first.lambda_max)
    assert 7.0 not in {kept.lambda_max for kept in read(path, Reference).values()}


def test_stored_references_are_converged() -> None:
    assert all(
        kept.lambda_max > 0.0 and kept.residual <= 1e-3 * kept.lambda_max
        for kept in read(REFERENCES, Reference).values()
    )
