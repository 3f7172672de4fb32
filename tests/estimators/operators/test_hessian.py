"""Tests HessianOperator against the dense Hessian for several chunk sizes, and against two independent libraries."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from estimators import HessianOperator, dense_hessian
from tests.estimators.cases import (
    CASES,
    Case,
    as_list,
    assert_relatively_close,
    operator,
    random_vector,
    smooth,
    vectors,
)

with warnings.catch_warnings():
    # Their imports use deprecated parts of torch.
    warnings.simplefilter("ignore")
    from curvlinops import HessianLinearOperator
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator as EigenthingsHessian

all_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@all_cases
def test_matvec_is_the_dense_product(case: Case) -> None:
    op = operator(case)
    vector = random_vector(op)
    expected = dense_hessian(case.model(), case.loss_fn, case.batches()) @ vector
    assert_relatively_close(op @ vector, expected, 1e-10)
    assert_relatively_close(op.matvec(vector), expected, 1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@all_cases
def test_products_do_not_depend_on_the_chunk_size(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    model = case.model().to(dtype)
    batches = [(x.to(dtype), y.to(dtype) if y.is_floating_point() else y) for x, y in as_list(case.batches())]
    products = []
    for chunk_size in (None, 1, 3, 1000):
        op = HessianOperator(model, case.loss_fn, batches, chunk_size=chunk_size)
        products.append(op @ random_vector(op))
    for product in products[1:]:
        assert_relatively_close(product, products[0], tolerance)


def test_nan_in_the_data_gives_nan_and_no_error() -> None:
    inputs, targets = vectors()
    inputs[4, 0] = torch.nan
    op = HessianOperator(smooth().double(), nn.functional.mse_loss, (inputs, targets), chunk_size=3)
    assert (op @ random_vector(op)).isnan().any()


class SparseEmbedding(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(6, 3, sparse=sparse), nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.arange(parameter.numel()).cos().reshape(parameter.shape))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.last(torch.tanh(self.embedding(tokens)))
        return outputs


def test_sparse_gradients_give_the_products_of_dense_ones() -> None:
    data = torch.tensor([0, 1, 1, 4, 5]), vectors(5)[1]
    sparse, dense = (
        HessianOperator(SparseEmbedding(kind).double(), nn.functional.mse_loss, data) for kind in (True, False)
    )
    assert_relatively_close(sparse @ random_vector(sparse), dense @ random_vector(dense), 1e-12)


# Both libraries fail for parameters that the loss does not depend on, and for gradients without a graph.
PEERS_CASES = [case for case in CASES if case.name not in ("unused parameter", "loss linear in the parameters")]


@pytest.mark.parametrize("case", PEERS_CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore")
def test_matvec_equals_curvlinops(case: Case) -> None:
    model = case.model()
    op = operator(case, model)
    vector = random_vector(op)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    peer = HessianLinearOperator(model, case_loss(case), parameters, as_list(case.batches()), check_deterministic=False)
    with sdpa_kernel(SDPBackend.MATH):
        assert_relatively_close(op @ vector, peer @ vector, 1e-10)


@pytest.mark.parametrize("case", PEERS_CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore")
def test_matvec_equals_hessian_eigenthings(case: Case) -> None:
    model = case.model()
    op = operator(case, model)
    vector = random_vector(op)
    # One batch, since this library averages the means of batches.
    inputs, targets = (torch.cat(parts) for parts in zip(*as_list(case.batches()), strict=True))
    peer = EigenthingsHessian(model, [(inputs, targets)], supervised_loss(case.loss_fn))
    with sdpa_kernel(SDPBackend.MATH):
        assert_relatively_close(op @ vector, peer.matvec(vector), 1e-10)


def case_loss(case: Case) -> nn.Module:
    return nn.CrossEntropyLoss() if case.loss_fn is nn.functional.cross_entropy else nn.MSELoss()
