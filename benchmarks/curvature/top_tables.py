"""The tables of the benchmark of the largest eigenvalues."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from benchmarks.curvature.top_references import COUNT
from benchmarks.harness.results import Result
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import ratio

OURS, BOUNDS = "ours", "bounds"
TOLERANCE = 0.01
_ROUNDING = 1e-5
"""Maximum relative rounding error of a Ritz value in float32."""


def table(result: Result) -> str:
    """Products, time and accuracy of every implementation by number of images, then ours over random starts."""
    parts: list[str] = []
    compared = [case for case in result.measured.values() if isinstance(case, dict)]
    for images in sorted({case["reference"]["images"] for case in compared}, reverse=True):
        parts += _comparison(result, images, [case for case in compared if case["reference"]["images"] == images])
    if BOUNDS in result.measured:
        parts += _bounds(result.measured[BOUNDS])
    return "\n\n".join(parts)


def _comparison(result: Result, images: int, cases: Sequence[dict[str, Any]]) -> Iterator[str]:
    names = list(cases[0]["seconds"])
    header = ["implementation", "products (range)", "CPU s (range)", "this / ours (95%)", "largest error", "accurate"]
    yield markdown(header, [_row(result, name, cases) for name in names])
    yield (
        f"Measured on {images:,} images: {len(cases)} snapshots of the paper's CNN trained on "
        f"{result.measured['trained_on']:,} images, one random start each, on one thread. Error: relative, of the "
        f"worst of {COUNT} eigenvalues. Accurate: all within {TOLERANCE:.0%}. {claims(cases)}"
    )
    yield markdown(["snapshot", "eigenvalues", *names], [_case_row(case, names) for case in cases], text=2)


def _row(result: Result, name: str, cases: Sequence[dict[str, Any]]) -> list[str]:
    runs = [(run, case["reference"]["values"]) for case in cases for run in case["found"][name]]
    errors = [largest_error(run["values"], true) for run, true in runs]
    seconds = {each: [sample for case in cases for sample in case["seconds"][each]] for each in (name, OURS)}
    return [
        _title(result, name, sorted({case["chunks"][name] for case in cases}) if name != OURS else []),
        spread([run["products"] for run, _ in runs]),
        spread(seconds[name]),
        "" if name == OURS else str(ratio(seconds[name], seconds[OURS])),
        f"{max(errors):.2%}",
        f"{sum(error <= TOLERANCE for error in errors)} of {len(errors)}",
    ]


def _title(result: Result, name: str, chunks: Sequence[int]) -> str:
    library, comma, rule = name.partition(", ")
    version = result.version(library.partition(" with ")[2] or library)
    sizes = f", chunks of {' or '.join(map(str, chunks))}" if chunks else ""
    return f"{library}{' ' if version else ''}{version}{comma}{rule}{sizes}"


def largest_error(values: Sequence[float], references: Sequence[float]) -> float:
    """Largest relative error of the eigenvalues."""
    return max(abs(value / true - 1.0) for value, true in zip(values, references, strict=True))


def _case_row(case: dict[str, Any], names: Sequence[str]) -> list[str]:
    products = [number(median(run["products"] for run in case["found"][name])) for name in names]
    return [case["reference"]["name"], ", ".join(map(number, case["reference"]["values"])), *products]


def _bounds(cases: Sequence[dict[str, Any]]) -> Iterator[str]:
    runs = [run for case in cases for run in case["found"][OURS]]
    yield (
        f"Ours on {cases[0]['reference']['images']:,} images, {len(runs)} cases: {len(cases)} snapshots, "
        f"{len(runs) // len(cases)} random starts each. {claims(cases)}"
    )
    yield markdown(["snapshot", "eigenvalues", "products (range)", "largest error"], [_bounds_row(c) for c in cases], 2)
    yield f"Products in all of these cases: {spread([run['products'] for run in runs])}."


def _bounds_row(case: dict[str, Any]) -> list[str]:
    reference, runs = case["reference"], case["found"][OURS]
    errors = [largest_error(run["values"], reference["values"]) for run in runs]
    products = spread([run["products"] for run in runs])
    return [reference["name"], ", ".join(map(number, reference["values"])), products, f"{max(errors):.2%}"]


def claims(cases: Sequence[dict[str, Any]]) -> str:
    """A sentence on our residuals, errors and `converged`, and one on the references."""
    runs = [(run, case["reference"]["values"]) for case in cases for run in case["found"][OURS]]
    pairs = COUNT * len(runs)
    near = sum(map(sum, (_within(run, true, "residuals", _nearest) for run, true in runs)))
    bounded = sum(map(sum, (_within(run, true, "errors", _same_rank) for run, true in runs)))
    converged = [error for run, true in runs for error in _claimed_errors(run, true)]
    wrong = sum(error > TOLERANCE for error in converged)
    difference = max(case["reference"]["eigsh_difference"] for case in cases)
    return (
        f"Ours: {near} of {pairs} residuals and {bounded} of {pairs} errors hold; {len(converged)} pairs claim "
        f"convergence, {wrong} of them wrongly. The references differ from `eigsh` at a tight tolerance by at most a "
        f"relative {difference:.0e}."
    )


def _claimed_errors(run: dict[str, Any], true: Sequence[float]) -> list[float]:
    """The relative errors of the pairs that claim convergence."""
    rows = zip(run["values"], true, run["converged"], strict=True)
    return [abs(value / exact - 1.0) for value, exact, converged in rows if converged]


def _within(
    run: dict[str, Any], true: Sequence[float], bound: str, distance: Callable[[float, int, Sequence[float]], float]
) -> list[bool]:
    """Whether the distance of each value is at most its bound, except for rounding."""
    pairs = enumerate(zip(run["values"], run[bound], strict=True))
    return [distance(value, rank, true) <= most + _ROUNDING * true[0] for rank, (value, most) in pairs]


def _nearest(value: float, _: int, true: Sequence[float]) -> float:
    return min(abs(value - one) for one in true)


def _same_rank(value: float, rank: int, true: Sequence[float]) -> float:
    return abs(value - true[rank])
