"""References of the largest eigenvalues against a dense Hessian."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks.curvature.references import read
from benchmarks.curvature.top_references import COUNT, TOP_REFERENCES, TopReference, TopReferences
from estimators import dense_hessian
from tests.benchmarks.curvature.linear_snapshots import IMAGES, LABELS, snapshot


def test_references_are_the_largest_eigenvalues_of_the_dense_hessian(tmp_path: Path) -> None:
    references = TopReferences(tmp_path / "references.json")
    found = references.get(snapshot(0), IMAGES, LABELS)
    dense = dense_hessian(snapshot(0).model.double(), cross_entropy, (IMAGES.double(), LABELS))
    expected = torch.linalg.eigvalsh(dense).flip(0)[:COUNT].tolist()
    assert found.values == pytest.approx(expected, rel=1e-6)
    assert max(found.residuals) < 1e-3 * found.values[0]
    assert found.eigsh_difference < 1e-4
    assert references.get(snapshot(0), IMAGES, LABELS) == found


def test_stored_references_agree_with_eigsh() -> None:
    for kept in read(TOP_REFERENCES, TopReference).values():
        assert kept.values == sorted(kept.values, reverse=True)
        assert kept.converged and kept.eigsh_difference <= 1e-4, kept.name
