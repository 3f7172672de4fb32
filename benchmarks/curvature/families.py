"""Time of products, Lanczos and traces for six network families, relative to naive double backward."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.curvature.agreement import Agreement, compare_numbers, compare_products, compare_traces
from benchmarks.curvature.naive import Product, ProductOperator, gauss_newton_product, hessian_product
from benchmarks.curvature.peers import Build, installed, missing, quiet
from benchmarks.curvature.problems import FAMILIES, Family, PeerProblem, family_problem
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, spread
from benchmarks.harness.timing import Samples, fastest, interleaved, ratio, say_sample
from estimators import (
    HessianOperator,
    HessianTrace,
    LanczosResult,
    SampledGaussNewtonTrace,
    SymmetricOperator,
    hessian_trace,
    lanczos,
    sampled_trace,
)
from orchestrator.training.data.data_splits import DataSplits

NAIVE = "naive double backward"
PRODUCT, KEPT = "ours: product", "ours: product, kept graphs"
LANCZOS, SAMPLED, TRACE = "ours: Lanczos, 5 products", "ours: sampled trace of the GGN", "ours: trace"
LANCZOS_PRODUCTS = 5
_LONGEST_ERROR = 75
"""Number of characters of an error in the table. The result has its whole first line."""


@dataclass(frozen=True)
class FamiliesSizes:
    divisor: int
    """Divides the number of samples of every family."""
    chunks: tuple[int, ...]
    """Numbers of equal chunks that are tried to find the best chunk size."""
    probes: int
    """Number of probes of every trace that needs probes, including the naive traces."""
    rounds: int


SIZES: dict[Scale, FamiliesSizes] = {
    "full": FamiliesSizes(1, (1, 2, 4, 10), probes=4, rounds=3),
    "quick": FamiliesSizes(5, (1, 4), probes=2, rounds=1),
    "tiny": FamiliesSizes(50, (1, 2), probes=2, rounds=1),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Compares the numbers of each family, and then times all implementations interleaved."""
    sizes = SIZES[settings.scale]
    families = settings.chosen(FAMILIES)
    images = resident_data(settings, max(family.samples for family in families.values()) // sizes.divisor)
    for name in missing():
        say(f"  {name} is skipped because it is not installed: pip install 'hessian-dynamics[bench]'")
    for name, family in families.items():
        say(f"  {family.title}")
        with quiet():
            yield {name: _measure_family(family, images, sizes)}


def _measure_family(family: Family, images: DataSplits, sizes: FamiliesSizes) -> dict[str, Any]:
    problem = family_problem(family, family.samples // sizes.divisor, images)
    vector = torch.randn(problem.size, generator=torch.Generator().manual_seed(0))
    chunk, search = best_chunk(hessian_product, problem, vector, sizes.chunks)
    naive = hessian_product(problem, chunk)
    peers = compared_peers(problem, vector, naive(vector), sizes.chunks)
    ours = Ours(problem, sizes.probes)
    with ours.kept.keeping_graphs():
        agreements = ours.agreements(vector, chunk)
        tasks = {NAIVE: partial(naive, vector)} | ours.tasks(vector)
        tasks |= {name: partial(product, vector) for name, product in peers.correct().items()}
        samples = interleaved(
            {name: _ignoring_round(task) for name, task in tasks.items()}, sizes.rounds, on_sample=say_sample
        )
    return {
        "samples": len(problem.inputs),
        "parameters": problem.size,
        "chunks": {NAIVE: chunk, PRODUCT: ours.operator.chunk_size, **peers.chunks},
        "search": {NAIVE: search, **peers.searches},
        "agreements": {name: asdict(found) for name, found in (agreements | peers.agreements).items()},
        "errors": peers.errors,
        "seconds": samples,
    }


def _ignoring_round(task: Callable[[], object]) -> Callable[[int], object]:
    return lambda _: task()


class Ours:
    """Our estimates for a problem. They draw the same random numbers in every call."""

    def __init__(self, problem: PeerProblem, probes: int) -> None:
        self._problem, self._probes = problem, probes
        self._data = (problem.inputs, problem.targets)
        self.operator = HessianOperator(problem.copied_model(), problem.loss, self._data)
        self.kept = HessianOperator(problem.copied_model(), problem.loss, self._data)
        """Its products are also timed with kept graphs."""

    def tasks(self, vector: Tensor) -> dict[str, Callable[[], object]]:
        return {
            PRODUCT: partial(self.operator.matvec, vector),
            KEPT: partial(self.kept.matvec, vector),
            LANCZOS: self._lanczos,
            SAMPLED: self._sampled_trace,
            TRACE: self._trace,
        }

    def agreements(self, vector: Tensor, chunk: int) -> dict[str, Agreement]:
        """Compares every estimate with naive double backward in chunks of the given size.

        Raises:
            RuntimeError: a number of ours is wrong.
        """
        product = hessian_product(self._problem, chunk)
        hessian = ProductOperator(self._problem, product)
        gauss_newton = ProductOperator(self._problem, gauss_newton_product(self._problem, chunk))
        expected = product(vector)
        found = {
            PRODUCT: compare_products(self.operator.matvec(vector), vector, expected),
            KEPT: compare_products(self.kept.matvec(vector), vector, expected),
            LANCZOS: compare_numbers(self._lanczos().lambda_max, _lanczos(hessian).lambda_max),
            SAMPLED: compare_traces(self._sampled_trace(), gauss_newton, self._probes),
            TRACE: compare_traces(self._trace(), hessian, self._probes),
        }
        for name, agreement in found.items():
            if not agreement.close:
                raise RuntimeError(
                    f"{name}: {agreement.value:.6g} differs from {agreement.expected:.6g} by naive double backward "
                    f"({agreement}); fix it before timing"
                )
        return found

    def _lanczos(self) -> LanczosResult:
        return _lanczos(self.operator)

    def _sampled_trace(self) -> SampledGaussNewtonTrace:
        signs = torch.Generator().manual_seed(2)
        return sampled_trace(self._problem.model, self._problem.loss, self._data, generator=signs)

    def _trace(self) -> HessianTrace:
        return hessian_trace(self.operator, self._probes, sampled=True, generator=torch.Generator().manual_seed(2))


def _lanczos(operator: SymmetricOperator) -> LanczosResult:
    start = torch.Generator().manual_seed(1)
    return lanczos(operator, LANCZOS_PRODUCTS, tolerance=0.0, generator=start, coarse_fraction=None)


@dataclass
class Peers:
    """What the installed libraries computed for a problem, by library."""

    products: dict[str, Product] = field(default_factory=dict)
    chunks: dict[str, int] = field(default_factory=dict)
    searches: dict[str, Samples] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """The first line of the error of a library that fails."""

    def correct(self) -> dict[str, Product]:
        """The products of the libraries that agree with naive double backward."""
        return {name: product for name, product in self.products.items() if self.agreements[name].close}


def compared_peers(problem: PeerProblem, vector: Tensor, expected: Tensor, chunks: Sequence[int]) -> Peers:
    """Finds the best chunk size of every library and compares its product with the expected one."""
    peers = Peers()
    for name, ways in installed().items():
        build = partial(_product_of, next(iter(ways.values())))
        try:
            peers.chunks[name], peers.searches[name] = best_chunk(build, problem, vector, chunks)
            product = build(problem, peers.chunks[name])
            peers.agreements[name] = compare_products(product(vector), vector, expected)
            peers.products[name] = product
        except Exception as error:  # libraries raise many kinds of errors
            peers.errors[name] = (str(error) or type(error).__name__).splitlines()[0]
        say(f"  {name}: {peers.errors.get(name) or peers.agreements[name]}")
    return peers


def _product_of(build: Build, problem: PeerProblem, chunk: int) -> Product:
    return build(problem, chunk).product


def best_chunk(
    build: Callable[[PeerProblem, int], Product], problem: PeerProblem, vector: Tensor, chunks: Sequence[int]
) -> tuple[int, Samples]:
    """The chunk size of the fastest product, and all samples by chunk size."""
    sizes = [len(problem.inputs) // count for count in chunks]
    best, samples = fastest({str(size): partial(build(problem, size), vector) for size in sizes})
    return int(best), samples


def table(result: Result) -> str:
    """The seconds of each computation, and its speed and results relative to naive double backward."""
    families = {name: result.measured[name] for name in FAMILIES if name in result.measured}
    rows = [row for name, measured in families.items() for row in _rows(result, FAMILIES[name].title, measured)]
    header = ["network", "computation", "s (range)", "naive products (95%)", "difference"]
    sizes = "; ".join(
        f"{FAMILIES[name].title}: {measured['samples']:,} samples, {measured['parameters']:,} parameters"
        for name, measured in families.items()
    )
    return f"{markdown(header, rows, text=2)}\n\n{sizes}."


def _rows(result: Result, title: str, measured: dict[str, Any]) -> Iterator[list[str]]:
    seconds, errors = measured["seconds"], measured["errors"]
    agreements = {name: Agreement(**found) for name, found in measured["agreements"].items()}
    for name in [NAIVE, *agreements, *errors]:
        label = _label(result, name, measured)
        if name in errors:
            yield [title, label, _shortened(errors[name]), "", ""]
        elif name not in seconds:
            found = agreements[name]
            yield [title, label, f"wrong: v'Hv is {found.value:.4g}, not {found.expected:.4g}", "", str(found)]
        else:
            relative = "" if name == NAIVE else str(ratio(seconds[name], seconds[NAIVE]))
            yield [title, label, spread(seconds[name]), relative, str(agreements.get(name, ""))]


def _label(result: Result, name: str, measured: dict[str, Any]) -> str:
    """The computation, with its chunk size or number of probes."""
    if name == TRACE:
        return f"{name}, {measured['agreements'][name]['probes'] or 'no'} probes"
    version = result.version(name)
    chunk = f", chunks of {measured['chunks'][name]}" if name in measured["chunks"] else ""
    return f"{name}{' ' if version else ''}{version}{chunk}"


def _shortened(error: str) -> str:
    """An error that fits a cell."""
    text = error.replace("|", "\\|")
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."


BENCHMARK = Benchmark("families", measure, table, threads=1)
