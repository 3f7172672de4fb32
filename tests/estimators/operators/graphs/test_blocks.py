"""Tests restricted operators against the diagonal blocks of the dense matrices."""

import pytest
import torch
from torch import Tensor, nn

from estimators import (
    GaussNewtonOperator,
    HessianOperator,
    dense_hessian,
    exact_trace,
    hessian_trace,
    lanczos,
    parameters_by_layer,
)
from estimators.operators.curvature import CurvatureOperator
from tests.estimators.cases import (
    CASES,
    Case,
    assert_relatively_close,
    columns,
    convolutional,
    counting_operator,
    images,
    mse_operator,
    operator,
    random_vector,
    seeded,
    vectors,
)
from tests.estimators.dense import dense_hessian_of
from tests.estimators.observed_state import assert_same, snapshot
from tests.estimators.reference import reference

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
all_kinds = pytest.mark.parametrize("kind", [HessianOperator, GaussNewtonOperator])


def blocks_of(op: CurvatureOperator) -> dict[str, tuple[list[str], Tensor]]:
    """Maps layers to their parameters' names and the positions of their entries in the vectors of the whole."""
    sizes = {name: p.numel() for name, p in op.problem.parameters.items()}
    parts = dict(zip(sizes, torch.arange(op.size).split(list(sizes.values())), strict=True))
    return {
        layer: (names, torch.cat([parts[name] for name in names]))
        for layer, names in parameters_by_layer(sizes).items()
    }


@all_cases
@all_kinds
@pytest.mark.parametrize("keeping", [False, True])
def test_products_are_those_of_the_dense_block(case: Case, kind: type[CurvatureOperator], keeping: bool) -> None:
    op = kind(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    whole = dense_hessian_of(case) if kind is HessianOperator else reference(case).gauss_newton
    tolerance = 1e-10 * float(whole.norm())

    def check() -> None:
        for names, entries in blocks_of(op).values():
            block = op.restricted(names)
            assert block.size == len(entries)
            vector, several = random_vector(block), columns(block, 2)
            expected = whole[entries][:, entries]
            assert float((block @ vector - expected @ vector).norm()) <= tolerance * float(vector.norm())
            assert float((block @ several - expected @ several).norm()) <= tolerance * float(several.norm())

    if not keeping:
        check()
        return
    with op.keeping_graphs():
        op @ random_vector(op)
        check()


@all_cases
@all_kinds
def test_products_with_graphs_of_the_whole_are_bit_identical(case: Case, kind: type[CurvatureOperator]) -> None:
    op = kind(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    names, _ = next(iter(blocks_of(op).values()))
    block = op.restricted(names)
    alone, gradient = block @ random_vector(block), block.gradient()
    with block.keeping_graphs():
        assert torch.equal(block @ random_vector(block), alone)
        assert torch.equal(block @ random_vector(block), alone)
    with op.keeping_graphs():
        op @ random_vector(op)
        assert torch.equal(block @ random_vector(block), alone)
        assert torch.equal(block.gradient(), gradient)


def test_kept_graphs_of_the_whole_are_used() -> None:
    model, op = counting_operator(memory_budget=2**30)
    block = op.restricted(["body.2.weight"])
    with op.keeping_graphs():
        op @ random_vector(op)
        assert model.forwards == 4
        lanczos(block, 5, tolerance=0.0, generator=seeded(0), coarse_fraction=None)
        assert model.forwards == 4
    block @ random_vector(block)
    assert model.forwards == 8


def test_a_block_follows_the_model_while_the_whole_keeps_graphs() -> None:
    model, op = counting_operator(memory_budget=2**30)
    block = op.restricted(["body.2.weight"])
    with op.keeping_graphs():
        op @ random_vector(op)
        with torch.no_grad():
            model.body[0].weight.mul_(2.0)
        found = block @ random_vector(block)
    assert torch.equal(found, block @ random_vector(block))


@pytest.mark.parametrize("budget", [0, 4_000, 9_000, 2**30])
def test_a_budget_for_some_graphs_changes_no_bit(budget: int) -> None:
    torch.manual_seed(0)
    expected = counting_operator(memory_budget=0)[1].restricted(["body.0.weight"])
    torch.manual_seed(0)
    _, op = counting_operator(memory_budget=budget)
    block = op.restricted(["body.0.weight"])
    for first in (block, op):
        with op.keeping_graphs(), block.keeping_graphs():
            first @ random_vector(first)
            for _ in range(3):
                assert torch.equal(block @ random_vector(block), expected @ random_vector(block))
        assert op._graphs.memory.held == 0


def test_a_block_of_the_last_layer_needs_no_derivative_of_the_first() -> None:
    op = HessianOperator(convolutional().double(), nn.functional.cross_entropy, images())
    visited: list[torch.Size] = []
    first = op.problem.parameters["0.weight"]
    block = op.restricted(["6.weight", "6.bias"])
    hook = first.register_hook(lambda gradient: visited.append(gradient.shape))
    block @ random_vector(block)
    assert visited == []
    op @ random_vector(op)
    assert visited
    hook.remove()


@all_cases
def test_the_trace_of_a_block_is_that_of_the_dense_block(case: Case) -> None:
    op = operator(case)
    for names, entries in blocks_of(op).values():
        found = hessian_trace(op.restricted(names), probes=100, generator=seeded(0))
        expected = float(dense_hessian_of(case).diagonal()[entries].sum())
        if found.exact:
            assert found.value == pytest.approx(expected, rel=1e-9, abs=1e-12)
        else:
            assert abs(found.value - expected) <= 4.0 * found.standard_error + 1e-12


def test_traces_of_blocks_are_those_per_parameter() -> None:
    model = convolutional().double()
    op = HessianOperator(model, nn.functional.cross_entropy, images())
    shares = exact_trace(model, nn.functional.cross_entropy, images()).per_parameter
    for name, share in shares.items():
        found = hessian_trace(op.restricted([name]))
        assert found.exact and found.value == pytest.approx(share, rel=1e-9)


@all_kinds
@pytest.mark.parametrize("coarse_fraction", [None, 0.4])
def test_lanczos_finds_the_largest_eigenvalue_of_a_block(
    kind: type[CurvatureOperator], coarse_fraction: float | None
) -> None:
    case = CASES[6]
    op = kind(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    whole = dense_hessian_of(case) if kind is HessianOperator else reference(case).gauss_newton
    for names, entries in blocks_of(op).values():
        block = op.restricted(names)
        found = lanczos(block, 50, 1e-9, generator=seeded(0), coarse_fraction=coarse_fraction)
        expected = float(torch.linalg.eigvalsh(whole[entries][:, entries])[-1])
        assert found.lambda_max == pytest.approx(expected, rel=1e-6)


def test_subsets_and_blocks_of_blocks() -> None:
    op = mse_operator(chunk_size=3)
    inputs, targets = vectors()
    names = ["0.weight", "2.weight"]
    block = op.restricted(names)
    of_half = dense_hessian(op.problem.model, nn.functional.mse_loss, (inputs[:5], targets[:5]))
    entries = torch.cat([blocks_of(op)["0"][1][:15], blocks_of(op)["2"][1][:20]])
    expected = of_half[entries][:, entries]
    assert_relatively_close(block.subset(0.5) @ random_vector(block), expected @ random_vector(block), 1e-10)
    with op.keeping_graphs():
        op @ random_vector(op)
        inner = block.restricted(["2.weight"])
        with_graphs = inner @ random_vector(inner)
    assert torch.equal(with_graphs, op.restricted(["2.weight"]) @ random_vector(inner))


def test_products_are_also_counted_by_the_whole() -> None:
    op = mse_operator()
    block = op.restricted(["0.weight"])
    block @ random_vector(block)
    block.subset(0.5) @ random_vector(block)
    assert (block.products, op.products) == (1.5, 1.5)


def test_nothing_leaks() -> None:
    op = mse_operator(chunk_size=3)
    before = snapshot(op.problem.model)
    lanczos(op.restricted(["2.bias"]), 3, generator=seeded(0))
    assert_same(snapshot(op.problem.model), before)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.wieght"], r"'0.wieght' is not a parameter that requires grad, expected .*: use '0.weight'"),
        (["2"], r"'2' is not a parameter .*: use '2.weight', '2.bias'$"),
        (["0.weight", "nothing"], r"'nothing' is not a parameter"),
        ([], "names is empty, expected at least one parameter name"),
        ("0.weight", r"names is the string '0.weight', expected a list .*: pass \['0.weight'\]"),
    ],
)
def test_names_that_are_no_parameters_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mse_operator().restricted(names)


def test_frozen_parameters_are_refused() -> None:
    op = operator(next(case for case in CASES if case.name == "frozen parameter"))
    with pytest.raises(ValueError, match=r"'0.weight' is not a parameter that requires grad"):
        op.restricted(["0.weight"])


def test_parameters_are_grouped_by_layer_in_order() -> None:
    assert parameters_by_layer(["a.0.weight", "a.0.bias", "scale", "a.1.weight"]) == {
        "a.0": ["a.0.weight", "a.0.bias"],
        "": ["scale"],
        "a.1": ["a.1.weight"],
    }
