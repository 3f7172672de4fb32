"""GaussNewtonOperator against the dense matrix and an independent library."""

import warnings

import pytest
import torch
from torch import nn

from estimators import GaussNewtonOperator, dense_hessian, hutchinson, lanczos
from tests.estimators.cases import CASES, Case, as_list, assert_relatively_close, random_vector, seeded, smooth, vectors
from tests.estimators.networks import NETWORKS, Network, dense_gauss_newton, labels, not_convex, values

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from curvlinops import GGNLinearOperator

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def operator(case: Case) -> GaussNewtonOperator:
    return GaussNewtonOperator(case.model(), case.loss_fn, case.batches(), chunk_size=case.chunk_size)


@all_cases
def test_matvec_is_the_dense_product(case: Case) -> None:
    op = operator(case)
    pair = tuple(torch.cat(parts) for parts in zip(*as_list(case.batches()), strict=True))
    dense = dense_gauss_newton(case.model(), case.loss_fn, pair).mean(dim=0)
    vector = random_vector(op)
    torch.testing.assert_close(op @ vector, dense @ vector, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_matvec_for_every_network(network: Network) -> None:
    for loss_fn, targets in ((nn.functional.cross_entropy, labels(4)), (not_convex, values(4))):
        model, pair = network.model(), (network.inputs(4), targets)
        op = GaussNewtonOperator(model, loss_fn, pair, chunk_size=3)
        vector = random_vector(op)
        expected = dense_gauss_newton(model, loss_fn, pair).mean(dim=0) @ vector
        torch.testing.assert_close(op @ vector, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore")
def test_matvec_equals_curvlinops() -> None:
    case = CASES[0]
    model = case.model()
    op = GaussNewtonOperator(model, case.loss_fn, case.batches(), chunk_size=3)
    peer = GGNLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), as_list(case.batches()), check_deterministic=False
    )
    vector = random_vector(op)
    assert_relatively_close(op @ vector, peer @ vector, 1e-10)


def test_products_of_subsets_are_counted() -> None:
    inputs, targets = vectors(10)
    model = smooth().double()
    op = GaussNewtonOperator(model, nn.functional.mse_loss, (inputs, targets), chunk_size=3)
    subset = op.subset(0.4)
    vector = random_vector(op)
    dense = dense_gauss_newton(model, nn.functional.mse_loss, (inputs[:4], targets[:4])).mean(dim=0)
    assert_relatively_close(subset @ vector, dense @ vector, 1e-10)
    assert (subset.products, op.products) == (1.0, 0.4)
    assert repr(subset).startswith("GaussNewtonOperator(size=54, samples=4")


def test_gauss_newton_matrix_is_semidefinite_if_the_hessian_is_indefinite() -> None:
    torch.manual_seed(5)  # not the seed of the probes, which would then depend on the weights
    model = smooth().double()
    op = GaussNewtonOperator(model, nn.functional.mse_loss, vectors(scale=5.0))
    assert lanczos(op, max_products=54, tolerance=0.0, generator=seeded(0)).lambda_min > -1e-10
    hessian = dense_hessian(model, nn.functional.mse_loss, vectors(scale=5.0))
    assert torch.linalg.eigvalsh(hessian)[0] < -0.1
    trace = hutchinson(op, probes=200, generator=seeded(0))
    dense = dense_gauss_newton(model, nn.functional.mse_loss, vectors(scale=5.0)).mean(dim=0)
    assert abs(trace.value - float(dense.trace())) < 4 * trace.standard_error


def test_invalid_input_raises_the_same_errors_as_the_hessian() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).double()
    with pytest.raises(ValueError, match="train mode"):
        GaussNewtonOperator(model, nn.functional.mse_loss, vectors())
    op = GaussNewtonOperator(model.eval(), nn.functional.mse_loss, vectors())
    with pytest.raises(ValueError, match="the vector has shape"):
        op @ torch.ones(3)
    model.train()
    with pytest.raises(ValueError, match="train mode"):
        op @ random_vector(op)
    inputs, targets = NETWORKS[0].inputs(8), torch.tensor([0, 0, 0, 0, 0, 0, 0, 2])
    loss_fn = nn.CrossEntropyLoss(ignore_index=2)
    with pytest.raises(ValueError, match="must be a mean over samples"):
        op = GaussNewtonOperator(NETWORKS[0].model(), loss_fn, (inputs, targets), chunk_size=4)
        op @ random_vector(op)
