"""What lambda_max is: Lanczos run to its end in float64, once for every network, kept with the project."""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.curvature.snapshots import Snapshot, digest
from estimators import HessianOperator, lanczos

REFERENCES = Path(__file__).parents[1] / "references" / "lambda_max.json"
PRODUCTS = 60
# In float32, to a residual a tenth of this, relative to lambda_max: with more, one random start in many rests at an
# eigenvalue just below the largest.
_TOLERANCE = 1e-4
# Of float64's residual, relative to lambda_max; the error is residual^2 / gap.
_RESIDUAL = 1e-4


@dataclass(frozen=True)
class Reference:
    """The largest eigenvalue of one network's loss over given images."""

    name: str
    images: int
    lambda_max: float
    residual: float
    second: float
    """The next Ritz value in float32: how near the second eigenvalue is."""


class References:
    """References by the digest of weights and images, in a file where they are to be kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def of(self, snapshot: Snapshot, inputs: Tensor, labels: Tensor) -> Reference:
        """From the file, or computed and added to it, which takes dozens of products."""
        if self._path is None:
            return compute(snapshot, inputs, labels)
        key = digest(snapshot.model, inputs, labels)
        kept = read(self._path)
        if key not in kept:
            kept[key] = compute(snapshot, inputs, labels)
            _write(self._path, kept)
        return kept[key]

    def again(self, snapshot: Snapshot, inputs: Tensor, labels: Tensor) -> Reference:
        """From another start, where a larger eigenvalue than the reference was found; takes its place."""
        found = compute(snapshot, inputs, labels, seed=1)
        if self._path is not None:
            _write(self._path, {**read(self._path), digest(snapshot.model, inputs, labels): found})
        return found


def read(path: Path) -> dict[str, Reference]:
    """What a file holds, by digest; nothing where there is none."""
    if not path.exists():
        return {}
    return {key: Reference(**content) for key, content in json.loads(path.read_text()).items()}


def _write(path: Path, kept: dict[str, Reference]) -> None:
    # A line each, by digest: a change is read as one.
    lines = [f"{json.dumps(key)}: {json.dumps(asdict(kept[key]))}" for key in sorted(kept)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def compute(snapshot: Snapshot, inputs: Tensor, labels: Tensor, seed: int = 0) -> Reference:
    """Lanczos from a random start to its end in float32, then in float64 from the vector that this found.

    Float64 takes five times as long, and has little left to do.
    """
    single = HessianOperator(snapshot.model, cross_entropy, (inputs, labels))
    rough = lanczos(single, PRODUCTS, _TOLERANCE, generator=torch.Generator().manual_seed(100 + seed))
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
