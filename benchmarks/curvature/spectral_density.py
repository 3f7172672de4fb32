"""Spectral densities of small networks: time at equal Wasserstein-1 error, and coverage of errors and bands."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.curvature.density_peers import Density, installed, ours
from benchmarks.curvature.peers import quiet
from benchmarks.curvature.problems import PeerProblem
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from benchmarks.harness.timing import interleaved
from estimators import dense_hessian, spectral_density
from estimators.spectrum.quadrature import wasserstein

OURS = "ours"
Setting = tuple[int, int]
"""Probes and steps."""


@dataclass(frozen=True)
class DensitySizes:
    hidden: int
    """Width of the first layer of the MLP."""
    images: int
    training: int
    """Number of steps of gradient descent before the second measurement."""
    rounds: int
    theirs: tuple[Setting, ...]
    ours: tuple[Setting, ...]
    draws: int
    covered: Setting


SIZES: dict[Scale, DensitySizes] = {
    "full": DensitySizes(
        hidden=36,
        images=300,
        training=300,
        rounds=3,
        theirs=((1, 40), (1, 100), (8, 40)),
        ours=((1, 10), (1, 20), (1, 40), (2, 20), (2, 40), (4, 20), (4, 40), (8, 40)),
        draws=200,
        covered=(7, 40),
    ),
    "quick": DensitySizes(8, 100, 50, 2, ((1, 20),), ((1, 10), (2, 20), (4, 20)), 10, (2, 20)),
    "tiny": DensitySizes(2, 20, 3, 1, ((1, 5),), ((1, 5), (2, 5)), 3, (2, 5)),
}


class DiagonalOperator:
    """A matrix given by its eigenvalues. Gaussian probes have the same distribution in every basis."""

    def __init__(self, eigenvalues: Tensor) -> None:
        self.eigenvalues = eigenvalues
        self.size, self.dtype, self.device = len(eigenvalues), eigenvalues.dtype, eigenvalues.device
        self.products = 0.0

    def matvec(self, vector: Tensor) -> Tensor:
        self.products += 1
        return self.eigenvalues * vector

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.matvec(vector)


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Measures errors and times on every network, and the coverage over many draws."""
    sizes = SIZES[settings.scale]
    networks = []
    for name, problem in _problems(sizes):
        doubles = problem.inputs.double(), problem.targets
        eigenvalues = torch.linalg.eigvalsh(dense_hessian(problem.copied_model().double(), cross_entropy, doubles))
        with quiet():
            runs = _runs(problem, eigenvalues, sizes)
        coverage = _coverage(eigenvalues, sizes)
        networks.append({"network": name, "size": len(eigenvalues), "runs": runs, "coverage": coverage})
        say(f"  {name}: {coverage}")
    yield {"rounds": sizes.rounds, "draws": sizes.draws, "covered": list(sizes.covered), "networks": networks}


def _problems(sizes: DensitySizes) -> Iterator[tuple[str, PeerProblem]]:
    """Networks for the digits of scikit-learn, before and after training."""
    digits = load_digits()
    inputs = torch.tensor(digits.data[: sizes.images], dtype=torch.float32)
    inputs, targets = (inputs - inputs.mean()) / inputs.std(), torch.tensor(digits.target[: sizes.images])
    for kind, activation in (("tanh", nn.Tanh), ("ReLU", nn.ReLU)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [nn.Linear(64, sizes.hidden), activation(), nn.Linear(sizes.hidden, 16), activation()]
            model = nn.Sequential(*layers, nn.Linear(16, 10))
        yield f"MLP, {kind}, untrained", PeerProblem(model, inputs, targets)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(sizes.training):
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        optimizer.zero_grad()
        yield f"MLP, {kind}, trained", PeerProblem(model, inputs, targets)


def _runs(problem: PeerProblem, eigenvalues: Tensor, sizes: DensitySizes) -> list[dict[str, Any]]:
    """Seconds and relative Wasserstein-1 errors of every implementation and setting, one per round."""
    tasks: dict[tuple[str, Setting], Density] = {(OURS, setting): ours(problem, *setting) for setting in sizes.ours}
    tasks |= {
        (name, setting): build(problem, *setting) for name, build in installed().items() for setting in sizes.theirs
    }
    errors: dict[str, list[float]] = {str(key): [] for key in tasks}

    def timed(key: tuple[str, Setting], seed: int) -> None:
        errors[str(key)].append(_distance(*tasks[key](seed), eigenvalues))

    seconds = interleaved({str(key): partial(timed, key) for key in tasks}, sizes.rounds)
    return [
        {
            "implementation": name,
            "probes": setting[0],
            "steps": setting[1],
            "seconds": seconds[str((name, setting))],
            "errors": errors[str((name, setting))],
        }
        for name, setting in tasks
    ]


def _distance(nodes: Tensor, masses: Tensor, eigenvalues: Tensor) -> float:
    """Wasserstein-1 distance relative to the range of the spectrum."""
    exact = torch.full_like(eigenvalues, -1.0 / len(eigenvalues))
    distance = wasserstein(torch.cat([nodes, eigenvalues]), torch.cat([masses, exact]))
    return distance / float(eigenvalues[-1] - eigenvalues[0])


def _coverage(eigenvalues: Tensor, sizes: DensitySizes) -> dict[str, float]:
    """Share of the draws whose error and bands cover the truth. Bands: mean and minimum over 100 grid points."""
    span = float(eigenvalues[-1] - eigenvalues[0])
    width = span / sizes.covered[1]
    grid = torch.linspace(float(eigenvalues[0]) - 0.02 * span, float(eigenvalues[-1]) + 0.02 * span, 100).double()
    distances = (grid[:, None] - eigenvalues) / width
    density = torch.exp(-0.5 * distances.square()).mean(1) / (width * (2.0 * torch.pi) ** 0.5)
    shares = (eigenvalues <= grid[:, None]).double().mean(1)
    in_error, ratios = [], []
    in_density: list[Tensor] = []
    in_shares: list[Tensor] = []
    for seed in range(sizes.draws):
        result = spectral_density(DiagonalOperator(eigenvalues), *sizes.covered, torch.Generator().manual_seed(seed))
        true = span * _distance(*result.measure(), eigenvalues)
        in_error.append(true <= result.error)
        ratios.append(result.error / true)
        for truth, curve, found in (
            (density, result.density(grid, width), in_density),
            (shares, result.cumulative(grid), in_shares),
        ):
            found.append((curve.low <= truth + 1e-9) & (truth <= curve.high + 1e-9))
    by_point, by_share = (torch.stack(found).double().mean(0) for found in (in_density, in_shares))
    return {
        "error": mean(in_error),
        "error_over_true": median(ratios),
        "density": float(by_point.mean()),
        "density_minimum": float(by_point.min()),
        "cumulative": float(by_share.mean()),
        "cumulative_minimum": float(by_share.min()),
    }


def table(result: Result) -> str:
    """Time at equal error, and coverage."""
    rows, coverage = [], []
    for network in result.measured["networks"]:
        own = [run for run in network["runs"] if run["implementation"] == OURS]
        theirs = [run for run in network["runs"] if run["implementation"] != OURS]
        rows += [[network["network"], *_compared(run, own)] for run in theirs]
        found = network["coverage"]
        cells = [f"{network['size']:,}", percent(found["error"]), number(found["error_over_true"])]
        cells += [f"{percent(found[name])} ({percent(found[name + '_minimum'])})" for name in ("density", "cumulative")]
        coverage.append([network["network"], *cells])
    probes, steps = result.measured["covered"]
    header = ["network", "library", "probes x steps", "W1", "s", "ours: probes x steps", "W1", "s", "theirs / ours"]
    second = ["network", "parameters", "error", "error / true", "density (worst point)", "shares (worst point)"]
    return (
        f"{markdown(header, rows, text=2)}\n\nW1: mean relative Wasserstein-1 error over {result.measured['rounds']}"
        " rounds, in 10,000ths of the range. s: median. Ours: the fastest setting with at most the library's error.\n\n"
        f"{markdown(second, coverage)}\n\nCoverage of {result.measured['draws']} draws of {probes} probes of {steps}"
        " steps: of `error`, and of the 95% bands of density and shares, as a mean over 100 grid points."
    )


def _compared(run: dict[str, Any], own: list[dict[str, Any]]) -> list[str]:
    enough = [one for one in own if mean(one["errors"]) <= mean(run["errors"])]
    cells = [run["implementation"], f"{run['probes']} x {run['steps']}", *_numbers(run)]
    if not enough:
        return [*cells, "none", "", "", ""]
    best = min(enough, key=lambda one: median(one["seconds"]))
    ratio = median(run["seconds"]) / median(best["seconds"])
    return [*cells, f"{best['probes']} x {best['steps']}", *_numbers(best), number(ratio)]


def _numbers(run: dict[str, Any]) -> list[str]:
    return [number(1e4 * mean(run["errors"])), f"{median(run['seconds']):.3f}"]


BENCHMARK = Benchmark("spectral_density", measure, table, threads=1)
