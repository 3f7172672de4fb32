"""HessianOperator against two independent libraries."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.estimators.cases import CASES, Case, as_list, assert_relatively_close, operator, random_vector

with warnings.catch_warnings():
    # Their own imports use deprecated parts of torch.
    warnings.simplefilter("ignore")
    from curvlinops import HessianLinearOperator
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator as EigenthingsHessian

# Both libraries refuse a parameter that takes no part in the loss, or a gradient without a graph.
PEERS_CASES = [case for case in CASES if case.name not in ("unused parameter", "loss linear in the parameters")]


@pytest.mark.parametrize("case", PEERS_CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore")
def test_matvec_is_that_of_curvlinops(case: Case) -> None:
    model = case.model()
    op = operator(case, model)
    vector = random_vector(op)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    peer = HessianLinearOperator(model, case_loss(case), parameters, as_list(case.batches()), check_deterministic=False)
    with sdpa_kernel(SDPBackend.MATH):
        assert_relatively_close(op @ vector, peer @ vector, 1e-10)


@pytest.mark.parametrize("case", PEERS_CASES, ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore")
def test_matvec_is_that_of_hessian_eigenthings(case: Case) -> None:
    model = case.model()
    op = operator(case, model)
    vector = random_vector(op)
    # One batch: this library takes the mean of batch means.
    inputs, targets = (torch.cat(parts) for parts in zip(*as_list(case.batches()), strict=True))
    peer = EigenthingsHessian(model, [(inputs, targets)], supervised_loss(case.loss_fn))
    with sdpa_kernel(SDPBackend.MATH):
        assert_relatively_close(op @ vector, peer.matvec(vector), 1e-10)


def case_loss(case: Case) -> nn.Module:
    return nn.CrossEntropyLoss() if case.loss_fn is nn.functional.cross_entropy else nn.MSELoss()
