"""Coverage of the confidence intervals of sampled traces, on matrices with a known trace."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from estimators import HutchinsonResult, dense_hessian, hutchinson
from estimators.operators.random_vectors import Distribution
from estimators.trace.student_t import student_quantile

LEVEL = 0.95
STUDENT, CHEBYSHEV, USUAL = "Student", "Chebyshev", "usual"
DISTRIBUTIONS: tuple[Distribution, ...] = ("gaussian", "rademacher")
_SIZE = 100


@dataclass(frozen=True)
class IntervalsSizes:
    draws: int
    probes: tuple[int, ...]


SIZES: dict[Scale, IntervalsSizes] = {
    "full": IntervalsSizes(2000, (2, 5, 10, 20)),
    "quick": IntervalsSizes(100, (2, 10)),
    "tiny": IntervalsSizes(5, (2, 3)),
}


class DenseOperator:
    """A linear operator given by a dense symmetric matrix."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.size, self.dtype, self.device, self.products = len(matrix), matrix.dtype, matrix.device, 0.0

    def matvec(self, vector: Tensor) -> Tensor:
        self.products += 1
        return self.matrix @ vector

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.matvec(vector)


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Estimates the trace of every matrix many times and counts the intervals that contain it."""
    sizes = SIZES[settings.scale]
    rows = []
    # One thread is faster for small matrices.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, build in MATRICES.items():
            matrix = build()
            for distribution in DISTRIBUTIONS:
                rows += [_drawn(name, matrix, distribution, probes, sizes.draws) for probes in sizes.probes]
            say(f"  {name}")
    finally:
        torch.set_num_threads(threads)
    yield {"draws": sizes.draws, "level": LEVEL, "rows": rows}


def table(result: Result) -> str:
    """Coverage by matrix, number and distribution of the probes, and method."""
    rows, draws = result.measured["rows"], result.measured["draws"]
    cells: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = (row["matrix"], number(row["effective_rank"]), row["probes"])
        cells.setdefault(key, {})[row["distribution"]] = row
    lines = []
    for (matrix, rank, probes), found in cells.items():
        shares = [
            _share(found[name], method, draws) for name in DISTRIBUTIONS for method in (STUDENT, CHEBYSHEV, USUAL)
        ]
        lines.append([matrix, rank, str(probes), *shares])
    header = ["matrix", "effective rank", "probes"]
    for letter in ("G", "R"):
        header += [f"{letter}: {STUDENT}", f"{letter}: {CHEBYSHEV}", f"{letter}: {USUAL}"]
    return (
        f"{markdown(header, lines)}\n\nG: Gaussian, R: Rademacher probes; {draws:,} draws per cell, "
        f"{draws * len(rows):,} in total; binomial error {percent(math.sqrt(LEVEL * (1 - LEVEL) / draws))}. Student: "
        "coverage of the draws with enough probes (`too_few_probes` is None); if most have too few, coverage of all "
        "draws in parentheses."
    )


def _share(row: dict[str, Any], method: str, draws: int) -> str:
    if method != STUDENT:
        return percent(row["covered"][method] / draws)
    if row["doubted"] > draws / 2:
        return f"({percent(row['covered'][method] / draws)})"
    return percent((row["covered"][method] - row["covered_doubted"]) / (draws - row["doubted"]))


def _drawn(name: str, matrix: Tensor, distribution: Distribution, probes: int, draws: int) -> dict[str, Any]:
    operator, generator = DenseOperator(matrix), torch.Generator().manual_seed(probes)
    trace = float(matrix.trace())
    covered = dict.fromkeys((STUDENT, CHEBYSHEV, USUAL), 0)
    doubted = covered_doubted = 0
    for _ in range(draws):
        result = hutchinson(operator, probes, distribution, generator=generator)
        intervals = result.interval(LEVEL), result.interval(LEVEL, "chebyshev"), _usual(result)
        for method, (low, high) in zip(covered, intervals, strict=True):
            covered[method] += low <= trace <= high
        if result.too_few_probes is not None:
            doubted += 1
            covered_doubted += intervals[0][0] <= trace <= intervals[0][1]
    return {
        "matrix": name,
        "effective_rank": trace**2 / float(matrix.square().sum()),
        "distribution": distribution,
        "probes": probes,
        "covered": covered,
        "doubted": doubted,
        "covered_doubted": covered_doubted,
    }


def _usual(result: HutchinsonResult) -> tuple[float, float]:
    """The textbook Student t interval from the standard deviation of the samples."""
    half = student_quantile((1.0 + LEVEL) / 2.0, len(result.samples) - 1) * result.standard_error
    return result.value - half, result.value + half


def _matrix_with_eigenvalues(*eigenvalues: float) -> Tensor:
    """A matrix with these eigenvalues, random eigenvectors, and otherwise eigenvalue 0."""
    values = torch.zeros(_SIZE, dtype=torch.float64)
    values[: len(eigenvalues)] = torch.tensor(eigenvalues, dtype=torch.float64)
    gaussian = torch.randn(_SIZE, _SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotation, _ = torch.linalg.qr(gaussian)
    matrix: Tensor = rotation @ torch.diag(values) @ rotation.T
    return matrix


def _network(steps: int) -> Tensor:
    """The Hessian of a small classifier of noisy points after `steps` steps of gradient descent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).double()
        inputs, targets = torch.randn(200, 6, dtype=torch.float64), torch.randint(4, (200,))
    inputs[torch.arange(200), targets] += 2.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return dense_hessian(model, cross_entropy, (inputs, targets))


MATRICES: dict[str, Callable[[], Tensor]] = {
    "1 eigenvalue": partial(_matrix_with_eigenvalues, 1.0),
    "3 equal": partial(_matrix_with_eigenvalues, *[1.0] * 3),
    "10 equal": partial(_matrix_with_eigenvalues, *[1.0] * 10),
    "30 equal": partial(_matrix_with_eigenvalues, *[1.0] * 30),
    "1 above a bulk of 99": partial(_matrix_with_eigenvalues, 10.0, *[0.5] * 99),
    "1 / k": partial(_matrix_with_eigenvalues, *(1.0 / k for k in range(1, _SIZE + 1))),
    "5 of both signs": partial(_matrix_with_eigenvalues, 3.0, -2.0, 1.0, 0.5, -0.3),
    "2 opposite": partial(_matrix_with_eigenvalues, 1.0, -1.0),
    "network, untrained": partial(_network, 0),
    "network, trained": partial(_network, 300),
}
BENCHMARK = Benchmark("intervals", measure, table)
