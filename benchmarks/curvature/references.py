"""Reference values of lambda_max, computed by Lanczos in float64 and stored in a file."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.curvature.snapshots import Snapshot, digest
from estimators import HessianOperator, lanczos

REFERENCES = Path(__file__).parents[1] / "references" / "lambda_max.json"
PRODUCTS = 60
Kept = TypeVar("Kept")
"""A dataclass of numbers."""
Compute = Callable[[Snapshot, Tensor, Tensor, int], Kept]
"""A function of snapshot, inputs, labels and seed."""
_TOLERANCE = 1e-4
"""Tolerance of Lanczos in float32. With a larger one, some runs stop at an eigenvalue just below the largest."""
_RESIDUAL = 1e-4
"""Maximum residual of Lanczos in float64, relative to lambda_max. The error of lambda_max is about residual^2 / gap."""


@dataclass(frozen=True)
class Reference:
    """The largest eigenvalue of a network's loss over given images."""

    name: str
    images: int
    lambda_max: float
    residual: float
    second: float
    """The second-largest Ritz value in float32, for an estimate of the gap."""


class StoredReferences(Generic[Kept]):
    """Maps digests of weights and images to references, stored in a file if a path is given."""

    def __init__(self, path: Path | None, kind: type[Kept], compute: Compute[Kept]) -> None:
        self._path, self._kind, self._compute = path, kind, compute

    def get(self, snapshot: Snapshot, inputs: Tensor, labels: Tensor) -> Kept:
        """Returns the stored reference, or computes and stores it, which takes dozens of products."""
        if self._path is None:
            return self._compute(snapshot, inputs, labels, 0)
        key = digest(snapshot.model, inputs, labels)
        kept = read(self._path, self._kind)
        if key not in kept:
            kept[key] = self._compute(snapshot, inputs, labels, 0)
            _write(self._path, kept)
        return kept[key]

    def recompute(self, snapshot: Snapshot, inputs: Tensor, labels: Tensor) -> Kept:
        """Recomputes a reference that is too small, from a different random start."""
        found = self._compute(snapshot, inputs, labels, 1)
        if self._path is not None:
            _write(self._path, {**read(self._path, self._kind), digest(snapshot.model, inputs, labels): found})
        return found


class References(StoredReferences[Reference]):
    """References of lambda_max."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, Reference, compute)


def read(path: Path, kind: type[Kept]) -> dict[str, Kept]:
    """The references of a file, by digest; empty if the file does not exist."""
    if not path.exists():
        return {}
    return {key: kind(**content) for key, content in json.loads(path.read_text()).items()}


def _write(path: Path, kept: Mapping[str, Any]) -> None:
    # Sorted and one per line, so that a changed reference is one line of a diff.
    lines = [f"{json.dumps(key)}: {json.dumps(asdict(kept[key]))}" for key in sorted(kept)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def compute(snapshot: Snapshot, inputs: Tensor, labels: Tensor, seed: int = 0) -> Reference:
    """Runs Lanczos in float32 from a random start, then in float64 from the Ritz vector found.

    A product in float64 takes five times as long, so most products are computed in float32.
    """
    single = HessianOperator(snapshot.model, cross_entropy, (inputs, labels))
    draw = torch.Generator().manual_seed(100 + seed)
    rough = lanczos(single, PRODUCTS, _TOLERANCE, generator=draw, coarse_fraction=None)
    model = copy.deepcopy(snapshot.model).double()
    double = HessianOperator(model, cross_entropy, (inputs.double(), labels))
    found = lanczos(double, PRODUCTS, 10 * _RESIDUAL, initial=rough.vector.double())
    return Reference(
        name=snapshot.name,
        images=len(labels),
        lambda_max=found.lambda_max,
        residual=found.residual,
        second=float(torch.linalg.eigvalsh(rough.tridiagonal)[-2]),
    )
