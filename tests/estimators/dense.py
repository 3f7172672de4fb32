"""Dense Hessians of the test cases, computed once."""

from functools import cache

from torch import Tensor

from estimators import dense_hessian
from tests.estimators.cases import Case


@cache
def dense_hessian_of(case: Case) -> Tensor:
    return dense_hessian(case.model(), case.loss_fn, case.batches())
