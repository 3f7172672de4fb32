"""Measuring leaves all state bitwise unchanged, even after exceptions."""

import gc
import warnings

import pytest
import torch
from torch import Tensor, nn

from estimators import HessianOperator
from estimators.problem.isolation import measuring
from tests.estimators.cases import CASES, images, operator, random_vector, smooth, vectors
from tests.estimators.observed_state import CountsAndFails, assert_same, snapshot


@pytest.mark.parametrize("fail", [False, True], ids=["success", "exception"])
def test_everything_is_bitwise_unchanged(fail: bool) -> None:
    model = CountsAndFails()
    model.body.bias.requires_grad_(False)
    model.body.weight.grad = torch.ones(2, 3)
    inputs, targets = (part.float() for part in vectors())
    torch.set_float32_matmul_precision("medium")
    try:
        before = snapshot(model)
        op = HessianOperator(model, nn.functional.mse_loss, (inputs, targets), chunk_size=3)
        assert_same(snapshot(model), before)
        model.fail = fail
        if fail:
            with pytest.raises(RuntimeError, match="the loss failed"):
                op @ torch.ones(6)
            assert op.products == 0.0
        else:
            op @ torch.ones(6)
        assert_same(snapshot(model), before)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_running_statistics_of_batch_norm_in_train_mode_are_unchanged() -> None:
    norm = nn.BatchNorm1d(3)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    with measuring(norm, torch.device("cpu")):
        norm(torch.arange(6.0).reshape(2, 3))
        assert norm.running_mean is not None and norm.running_mean[2] > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in norm.state_dict().items())


def test_float32_is_not_rounded_while_measuring() -> None:
    seen = []

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append((torch.backends.mkldnn.matmul.fp32_precision, torch.is_autocast_enabled("cpu"), outputs.dtype))
        return nn.functional.mse_loss(outputs, targets)

    inputs, targets = (part.float() for part in vectors())
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            op = HessianOperator(smooth(), loss_fn, (inputs, targets))
            op @ torch.ones(op.size)
    finally:
        torch.set_float32_matmul_precision("highest")
    # Some checks evaluate the loss in float64.
    assert set(seen) == {("ieee", False, dtype) for dtype in (torch.float32, torch.float64)}


def test_a_pending_backward_pass_still_works() -> None:
    case = next(case for case in CASES if case.name == "batch norm in eval mode")
    model = case.model()
    inputs, targets = images()
    loss = nn.functional.cross_entropy(model(inputs), targets)
    operator(case, model) @ torch.ones(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_products_leak_no_tensors() -> None:
    op = operator(CASES[0])
    vector = random_vector(op)

    def tensors_after(products: int) -> int:
        for _ in range(products):
            op @ vector
        gc.disable()
        count = sum(isinstance(thing, Tensor) for thing in gc.get_objects())
        gc.enable()
        return count

    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert tensors_after(2) == tensors_after(20)
