"""Sharpness in the geometry of seven optimizers, and the cost of blocks."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.curvature.minibatches import small_problem
from benchmarks.curvature.problems import FAMILIES, PeerProblem, family_problem
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import ratio, seconds
from estimators import (
    HessianOperator,
    LanczosResult,
    dense_hessian,
    lanczos,
    parameters_by_layer,
)
from orchestrator.study.parts.optimizer_config import Optimizer
from orchestrator.study.stability import coupled_weight_decay, stability_threshold
from orchestrator.training.measurement.preconditioner import in_geometry, preconditioner
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.optimizers.update import Update

_ADAPTER: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)
OPTIMIZERS: dict[str, Optimizer] = {
    name: _ADAPTER.validate_python(fields)
    for name, fields in {
        "SGD": {"name": "sgd", "lr": 0.5},
        "heavy ball": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "Nesterov": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        "Adam": {"name": "adam", "lr": 1e-3},
        "AdamW": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1},
        "AdaGrad": {"name": "adagrad", "lr": 1e-2},
        "RMSprop": {"name": "rmsprop", "lr": 1e-4},
    }.items()
}
_PRODUCTS = 10


@dataclass(frozen=True)
class StabilitySizes:
    samples: int
    """Number of samples of the small network."""
    steps: int
    """Full-batch steps before the sharpness is measured."""
    images: int
    """Number of images of the paper's CNN."""
    reference_images: int
    """Number of images on which the blocks' lambda_max are compared with converged ones."""
    rounds: int


SIZES: dict[Scale, StabilitySizes] = {
    "full": StabilitySizes(2000, 50, 5000, 500, 5),
    "quick": StabilitySizes(640, 20, 500, 100, 2),
    "tiny": StabilitySizes(320, 5, 32, 16, 1),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Measures the chosen of the two parts in turn."""
    sizes = SIZES[settings.scale]
    torch.set_num_threads(settings.threads)
    data = resident_data(settings, sizes.images)
    model, inputs, labels = small_problem(data, min(sizes.samples, len(data.train)))
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "sharpness": lambda: _sharpness_of_all(model, inputs, labels, sizes.steps),
        "blocks": lambda: _blocks(settings, sizes),
    }
    for name, part in settings.chosen(parts).items():
        yield {name: part()}


def _sharpness_of_all(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, config in OPTIMIZERS.items():
        found[name] = _sharpness(config, copy.deepcopy(model), (inputs, labels), steps)
        say(f"  {name}: {found[name]}")
    return found


def _sharpness(config: Optimizer, model: nn.Module, data: tuple[Tensor, Tensor], steps: int) -> dict[str, float]:
    """Trains in float64, and compares sharpness in float64 and float32 with that of the dense float64 matrix."""
    optimizer = build_optimizer(config, model.parameters())
    update = Update(model, optimizer, config)
    for _ in range(steps):
        update(lambda: cross_entropy(model(data[0]), data[1]))
    op = HessianOperator(model, cross_entropy, data)
    gradient = op.gradient()
    diagonal = preconditioner(config, optimizer, gradient)
    threshold = stability_threshold(config, config.lr, steps, float(gradient.norm())).value  # type: ignore[union-attr]
    assert diagonal is not None
    assert threshold is not None
    hessian = dense_hessian(model, cross_entropy, data)
    hessian += coupled_weight_decay(config) * torch.eye(len(hessian), dtype=hessian.dtype)
    scale = diagonal.pow(-0.5)
    expected = float(torch.linalg.eigvalsh(scale[:, None] * hessian * scale)[-1])
    precise = lanczos(in_geometry(op, config, diagonal), 200, 1e-8, generator=_generator(0))
    single = HessianOperator(copy.deepcopy(model).float(), cross_entropy, (data[0].float(), data[1]))
    quick = lanczos(
        in_geometry(single, config, diagonal.float()), 30, 1e-3, generator=_generator(0), coarse_fraction=0.1
    )
    return {
        "sharpness": expected,
        "threshold": threshold,
        "error": abs(precise.lambda_max / expected - 1.0),
        "float32_error": abs(quick.lambda_max / expected - 1.0),
        "float32_products": quick.products,
    }


def _blocks(settings: Settings, sizes: StabilitySizes) -> dict[str, Any]:
    """Times one Lanczos run of the paper's CNN, and one for every layer."""
    data = resident_data(settings, sizes.images)
    problem = family_problem(FAMILIES["cnn"], sizes.images, data)
    whole_op = HessianOperator(problem.model, cross_entropy, (problem.inputs, problem.targets), memory_budget=2 * 2**30)
    op = whole_op.in_chunks(0.1)
    whole: list[float] = []
    layers: dict[str, list[float]] = {name: [] for name in parameters_by_layer(op.problem.parameters)}
    results: dict[str, LanczosResult] = {}
    for turn in range(sizes.rounds):
        with op.keeping_graphs():
            whole.append(seconds(lambda: results.update(whole=_quick(op))))
            for name, names in parameters_by_layer(op.problem.parameters).items():
                block = op.restricted(names)
                layers[name].append(seconds(lambda: results.update({name: _quick(block)})))  # noqa: B023
        say(f"  round {turn}: whole {whole[-1]:.1f} s, layers {sum(times[-1] for times in layers.values()):.1f} s")
    return {
        "images": sizes.images,
        "whole": whole,
        "layers": layers,
        "products": {name: result.products for name, result in results.items()},
        "lambda_max": {name: result.lambda_max for name, result in results.items()},
        "reference_images": sizes.reference_images,
        "errors": _block_errors(problem.part(sizes.reference_images)),
    }


def _block_errors(problem: PeerProblem) -> dict[str, float]:
    """Relative errors of each block's lambda_max, against 60 products at a tolerance of 1e-5."""
    op = HessianOperator(problem.model, cross_entropy, (problem.inputs, problem.targets)).in_chunks(0.1)
    errors = {}
    with op.keeping_graphs():
        for name, names in parameters_by_layer(op.problem.parameters).items():
            block = op.restricted(names)
            reference = lanczos(block, 60, 1e-5, generator=_generator(1))
            errors[name] = abs(_quick(block).lambda_max / reference.lambda_max - 1.0)
    return errors


def _quick(op: HessianOperator) -> LanczosResult:
    return lanczos(op, _PRODUCTS, 1e-3, generator=_generator(0), coarse_fraction=0.1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(result: Result) -> str:
    """Two tables: sharpness by optimizer, time of blocks."""
    tables: dict[str, Callable[[Any], str]] = {
        "sharpness": _sharpness_table,
        "blocks": _blocks_table,
    }
    return "\n\n".join(show(result.measured[name]) for name, show in tables.items() if name in result.measured)


def _sharpness_table(measured: dict[str, dict[str, float]]) -> str:
    rows = [
        [
            name,
            f"{one['sharpness']:.4g}",
            number(one["sharpness"] / one["threshold"]),
            f"{one['error']:.1e}",
            f"{one['float32_error']:.1e}",
            number(one["float32_products"]),
        ]
        for name, one in measured.items()
    ]
    header = ["optimizer", "sharpness", "of the threshold", "relative error", "float32, tolerance 1e-3", "its products"]
    worst = max(one["error"] for one in measured.values())
    return f"{markdown(header, rows)}\n\nLargest relative error in float64: {worst:.1e}."


def _blocks_table(measured: dict[str, Any]) -> str:
    whole, layers = measured["whole"], measured["layers"]
    total = [sum(times) for times in zip(*layers.values(), strict=True)]
    entries = {"whole network": ("whole", whole), **{f"layer {name}": (name, times) for name, times in layers.items()}}
    rows = [
        [
            title,
            spread(times),
            str(ratio(times, whole)),
            number(measured["products"][name]),
            f"{measured['lambda_max'][name]:.4g}",
            f"{measured['errors'][name]:.1e}" if name in measured["errors"] else "",
        ]
        for title, (name, times) in entries.items()
    ]
    rows.append(["all layers", spread(total), str(ratio(total, whole)), "", "", ""])
    header = ["Lanczos of", "s (range)", "of the whole (95%)", "products", "lambda_max", "relative error"]
    return (
        f"{markdown(header, rows)}\n\nThe paper's CNN before training, {measured['images']:,} images, one thread, "
        f"coarse start, graphs shared. Errors on {measured['reference_images']} images, against 60 products at a "
        "tolerance of 1e-5."
    )


BENCHMARK = Benchmark("stability", measure, table, threads=1)
