"""Models, losses and outputs that cannot be measured are refused with an error that says how to fix it."""

import pytest
import torch
from torch import Tensor, nn

from estimators import GaussNewtonOperator, HessianOperator, dense_hessian, exact_trace, sampled_trace
from estimators.problem.checks import trainable_parameters
from tests.estimators.cases import (
    assert_relatively_close,
    convolutional,
    images,
    mse_operator,
    random_vector,
    smooth,
    vectors,
)


def two_devices() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, device="meta"))


def two_dtypes() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2).double())


def frozen() -> nn.Module:
    return nn.Linear(3, 2).requires_grad_(False)


def hooked() -> nn.Module:
    model = nn.Linear(3, 2)
    model.weight.register_hook(lambda gradient: 2 * gradient)
    return model


REFUSED_MODELS = [
    (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)),
        r"Dropout '1' with p=0.5 is in train mode.*model.eval\(\)",
    ),
    (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
        r"BatchNorm1d '1' is in train mode.*depends on the chunk size.*eval\(\)",
    ),
    (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
        "has no running statistics.*depends on the chunk size.*: set track_running_stats=True",
    ),
    (frozen, r"no parameter of the model requires grad.*requires_grad_\(True\)"),
    (two_devices, "several devices, cpu, meta, expected one"),
    (two_dtypes, "several dtypes, torch.float32, torch.float64, expected one"),
    (lambda: nn.Linear(3, 2).half(), r"torch.float16, expected torch.float32 or torch.float64.*model.float\(\)"),
    (lambda: nn.Linear(3, 2).bfloat16(), r"torch.bfloat16, expected torch.float32 or torch.float64"),
    (lambda: nn.Linear(3, 2, dtype=torch.complex64), "torch.complex64, expected .*: store real and imaginary parts"),
    (hooked, "parameter weight has a gradient hook"),
    (lambda: torch.tanh, "expected a torch.nn.Module"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED_MODELS)
def test_unusable_models_are_refused(build, message: str) -> None:  # type: ignore[no-untyped-def]
    data = torch.ones(4, 3), torch.ones(4, 2)
    with pytest.raises(ValueError, match=message):
        HessianOperator(build(), nn.functional.mse_loss, data)


def test_inactive_dropout_is_accepted() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0)).double()
    assert model.training
    op = mse_operator(model)
    assert (op @ random_vector(op)).norm() > 0
    model[1] = nn.Dropout(0.5).eval()
    assert (op @ random_vector(op)).norm() > 0


def test_a_model_put_in_train_mode_later_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).double().eval()
    op = mse_operator(model)
    model.train()
    with pytest.raises(ValueError, match="train mode"):
        op @ random_vector(op)


def noisy_outputs(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs + torch.rand_like(outputs), targets)


def test_a_random_loss_is_refused_and_the_random_stream_restored() -> None:
    model = smooth().double()
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"two evaluations of the first chunk gave losses .* turn off dropout"):
        HessianOperator(model, noisy_outputs, vectors())
    assert torch.equal(torch.get_rng_state(), state)


def compares_samples(outputs: Tensor, targets: Tensor) -> Tensor:
    return (torch.cdist(outputs, outputs) + 1).mean() + 0 * targets.sum()


@pytest.mark.parametrize("chunk_size", [None, 4, 1])
@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(weight=torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)),
        nn.CrossEntropyLoss(ignore_index=1),
        compares_samples,
    ],
    ids=["sum", "class weights", "ignore_index", "compares samples"],
)
def test_loss_that_is_not_a_mean_is_refused(loss_fn: nn.Module, chunk_size: int | None) -> None:
    with pytest.raises(ValueError, match=r'must be a mean over samples.*reduction="sum", class weights, ignore_index'):
        op = HessianOperator(convolutional().double(), loss_fn, images(), chunk_size=chunk_size)
        op @ random_vector(op)


def test_the_mean_is_checked_in_the_last_chunk_too() -> None:
    inputs, targets = images(8)
    targets = torch.tensor([0, 0, 0, 0, 0, 0, 0, 2])
    op = HessianOperator(convolutional().double(), nn.CrossEntropyLoss(ignore_index=2), (inputs, targets), chunk_size=4)
    with pytest.raises(ValueError, match="must be a mean over samples"):
        op @ random_vector(op)


def test_a_mean_that_vmap_does_not_support_is_accepted() -> None:
    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        scale = 2.0 if outputs.detach().isfinite().all().item() else 1.0
        return scale * nn.functional.mse_loss(outputs, targets)

    op = HessianOperator(smooth().double(), loss_fn, vectors())
    vector = random_vector(op)
    assert_relatively_close(op @ vector, 2 * (mse_operator(op.problem.model) @ vector), 1e-12)


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (
            nn.MSELoss(reduction="none"),
            r"the loss of a chunk has shape \(4, 2\), expected a tensor with one real number",
        ),
        (lambda outputs, targets: 1.0, "the loss of a chunk has type float"),
    ],
)
def test_a_loss_that_is_not_a_scalar_is_refused(loss_fn: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HessianOperator(smooth().double(), loss_fn, vectors())


@pytest.mark.parametrize("outputs", [lambda x: x.flatten(), lambda x: {"logits": x}])
def test_outputs_without_one_row_per_sample_are_refused(outputs) -> None:  # type: ignore[no-untyped-def]
    class Model(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            result: Tensor = outputs(super().forward(input))
            return result

    with pytest.raises(ValueError, match=r"the model's outputs for .* wrap the model"):
        HessianOperator(Model(3, 2).double(), lambda out, _: 0.0 * out.sum(), vectors())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_estimator_refuses_half_precision(dtype: torch.dtype) -> None:
    model, data = smooth().to(dtype), tuple(part.to(dtype) for part in vectors())
    for call in (HessianOperator, GaussNewtonOperator, exact_trace, sampled_trace, dense_hessian):
        with pytest.raises(
            ValueError, match=f"a parameter of the model is {dtype}, expected .*convert with model.float"
        ):
            call(model, nn.functional.mse_loss, data)  # type: ignore[arg-type]


def test_trainable_parameters_keep_names_and_order_of_the_model() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].bias.requires_grad_(False)
    model[1].weight = model[0].weight = nn.Parameter(torch.ones(2, 2))
    found = trainable_parameters(model)
    assert list(found) == ["0.weight", "1.bias"]
    assert found["0.weight"] is model[1].weight
