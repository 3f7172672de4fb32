"""Lookup of references by digest, and counts of hits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.curvature.lambda_max import _first_hit, _row
from benchmarks.curvature.references import REFERENCES, References, read
from benchmarks.curvature.snapshots import Snapshot, digest


def snapshot(seed: int) -> Snapshot:
    torch.manual_seed(seed)
    return Snapshot("linear", "-", seed, "init", nn.Linear(4, 3))


IMAGES = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


def test_reference_is_computed_once_per_weights(tmp_path: Path) -> None:
    path = tmp_path / "references.json"
    first = References(path).of(snapshot(0), IMAGES, LABELS)
    # Hessian of the cross-entropy of a linear layer: mean of (diag(p) - pp') (x) (x, 1)(x, 1)', in float64.
    model = snapshot(0).model.double()
    inputs = torch.cat([IMAGES.double(), torch.ones(12, 1).double()], dim=1)
    p = model(IMAGES.double()).softmax(1).detach()
    parts = [torch.kron(torch.diag(a) - a[:, None] * a, x[:, None] * x) for a, x in zip(p, inputs, strict=True)]
    hessian = torch.stack(parts).mean(0)
    assert first.lambda_max == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-6)
    path.write_text(path.read_text().replace(str(first.lambda_max), "7.0"))
    assert References(path).of(snapshot(0), IMAGES, LABELS) == replace(first, lambda_max=7.0)
    assert References(path).of(snapshot(1), IMAGES, LABELS).lambda_max != 7.0
    assert len(read(path)) == 2
    assert References(path).recompute(snapshot(0), IMAGES, LABELS).lambda_max == pytest.approx(first.lambda_max)
    assert 7.0 not in {kept.lambda_max for kept in read(path).values()}


def test_digest_depends_on_weights_images_and_labels() -> None:
    model = snapshot(0).model
    digests = {digest(model, IMAGES, LABELS), digest(snapshot(1).model, IMAGES, LABELS)}
    assert len(digests | {digest(model, IMAGES + 1, LABELS), digest(model, IMAGES, LABELS.flip(0))}) == 4
    assert digest(snapshot(0).model, IMAGES, LABELS) in digests


def test_stored_references_are_converged() -> None:
    assert all(kept.lambda_max > 0.0 and kept.residual <= 1e-3 * kept.lambda_max for kept in read(REFERENCES).values())


def test_first_hit_counts_the_coarse_start() -> None:
    found = {"history": [0.5, 0.9995, 1.0], "products": 3.8}
    assert _first_hit(found, 1.0, 1e-3) == pytest.approx(2.8)
    assert _first_hit({"history": [0.5], "products": 1.0}, 1.0, 1e-3) == 2.0


def test_counts_estimates_that_converged_to_a_wrong_value() -> None:
    def case(value: float, converged: bool) -> dict[str, object]:
        found = {"lambda_max": value, "converged": converged, "products": 2.0, "history": [0.1, value]}
        return {"lambda_max": 1.0, "found": {"way": found}}

    row = _row("way", 500, "all", [case(1.0, True), case(0.9995, False), case(0.9, True), case(-1.0, False)], 1e-3)
    assert row[4:7] == ["50.0%", "50.0%", "1 of 2"]
