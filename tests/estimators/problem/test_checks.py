"""Whatever cannot be measured rightly is refused, with an error that names the fix."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from estimators import HessianOperator
from tests.estimators.cases import (
    Pair,
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
    (lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), r"BatchNorm1d '1' is in train mode.*couples.*eval\(\)"),
    (
        lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
        "has no running statistics.*couples",
    ),
    (frozen, r"no parameter of the model requires grad.*requires_grad_\(True\)"),
    (two_devices, "several devices, cpu, meta, expected one"),
    (two_dtypes, "several dtypes, torch.float32, torch.float64, expected one"),
    (lambda: nn.Linear(3, 2).half(), r"torch.float16, expected torch.float32 or torch.float64.*model.float\(\)"),
    (lambda: nn.Linear(3, 2).bfloat16(), r"torch.bfloat16, expected torch.float32 or torch.float64"),
    (lambda: nn.Linear(3, 2, dtype=torch.complex64), "torch.complex64, expected torch.float32 or torch.float64"),
    (hooked, "parameter weight has a gradient hook"),
    (lambda: torch.tanh, "expected a torch.nn.Module"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED_MODELS)
def test_models_that_cannot_be_measured_are_refused(build, message: str) -> None:  # type: ignore[no-untyped-def]
    data = torch.ones(4, 3), torch.ones(4, 2)
    with pytest.raises(ValueError, match=message):
        HessianOperator(build(), nn.functional.mse_loss, data)


def test_dropout_without_effect_is_measured() -> None:
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


def test_a_random_loss_is_refused_and_the_stream_restored() -> None:
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
def test_a_loss_that_is_no_mean_is_refused(loss_fn: nn.Module, chunk_size: int | None) -> None:
    with pytest.raises(ValueError, match=r'must be a mean over samples.*reduction="sum", class weights, ignore_index'):
        op = HessianOperator(convolutional().double(), loss_fn, images(), chunk_size=chunk_size)
        op @ random_vector(op)


def test_a_violation_in_the_last_chunk_is_found() -> None:
    inputs, targets = images(8)
    targets = torch.tensor([0, 0, 0, 0, 0, 0, 0, 2])
    op = HessianOperator(convolutional().double(), nn.CrossEntropyLoss(ignore_index=2), (inputs, targets), chunk_size=4)
    with pytest.raises(ValueError, match="must be a mean over samples"):
        op @ random_vector(op)


def test_a_mean_that_vmap_cannot_follow_is_accepted() -> None:
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
            r"the loss of a chunk has shape \(2, 2\), expected a tensor with one real number",
        ),
        (lambda outputs, targets: 1.0, "the loss of a chunk has type float"),
    ],
)
def test_a_loss_that_is_no_number_is_refused(loss_fn: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HessianOperator(smooth().double(), loss_fn, vectors())


@pytest.mark.parametrize("outputs", [lambda x: x.flatten(), lambda x: {"logits": x}])
def test_outputs_without_a_row_a_sample_are_refused(outputs) -> None:  # type: ignore[no-untyped-def]
    class Model(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            result: Tensor = outputs(super().forward(input))
            return result

    with pytest.raises(ValueError, match=r"the model's outputs for .* wrap the model"):
        HessianOperator(Model(3, 2).double(), lambda out, _: 0.0 * out.sum(), vectors())


class Shuffled:
    def __iter__(self) -> Iterator[Pair]:
        inputs, targets = vectors()
        order = torch.randperm(len(inputs))
        yield inputs[order], targets[order]


class Exhausted:
    """Yields a third of its samples from the third pass on."""

    passes = 0

    def __iter__(self) -> Iterator[Pair]:
        self.passes += 1
        inputs, targets = vectors(9)
        for part in range(3 if self.passes < 6 else 1):
            yield inputs[3 * part : 3 * part + 3], targets[3 * part : 3 * part + 3]


X, Y = vectors()
REFUSED_BATCHES = [
    ((pair for pair in [(X, Y)]), "a generator, which can be iterated once only.*list"),
    (iter([(X, Y)]), "a list_iterator, which can be iterated once only"),
    ([], "no samples"),
    ((X[:0], Y[:0]), "no samples"),
    ((X, Y[:4]), r"inputs of shape \(10, 3\) and targets of shape \(4, 2\).*one target per input"),
    ([(X, Y), (X, Y[:4])], "batch 1 holds inputs"),
    (X, "batches is a Tensor, expected an .inputs, targets. pair"),
    (3, "batches is a int, expected"),
    ([(X, Y, Y)], r"batch 0 is a tuple of \(Tensor, Tensor, Tensor\), expected a pair of tensors"),
    ([X, Y, Y], "batch 0 is a Tensor, expected a pair of tensors"),
    (Shuffled(), "another first batch at a second pass.*turn off shuffling"),
]


@pytest.mark.parametrize(("batches", "message"), REFUSED_BATCHES)
def test_data_that_cannot_be_measured_is_refused(batches, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        HessianOperator(smooth().double(), nn.functional.mse_loss, batches)


def test_data_that_runs_out_is_refused() -> None:
    op = HessianOperator(smooth().double(), nn.functional.mse_loss, Exhausted())
    with pytest.raises(ValueError, match="yielded 3 samples, 9 at its first pass"):
        op @ random_vector(op)


def test_a_data_loader_is_re_iterable() -> None:
    data = torch.utils.data.TensorDataset(*vectors())
    model = smooth().double()
    op = HessianOperator(model, nn.functional.mse_loss, torch.utils.data.DataLoader(data, batch_size=4))
    state = torch.get_rng_state()
    assert_relatively_close(op @ random_vector(op), mse_operator(model) @ random_vector(op), 1e-12)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="turn off shuffling"):
        HessianOperator(model, nn.functional.mse_loss, torch.utils.data.DataLoader(data, batch_size=4, shuffle=True))


@pytest.mark.parametrize("chunk_size", [0, -3])
def test_an_empty_chunk_is_refused(chunk_size: int) -> None:
    with pytest.raises(ValueError, match=f"chunk_size is {chunk_size}, expected at least 1"):
        mse_operator(chunk_size=chunk_size)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"fraction is {fraction}, expected a number in \(0, 1\]"):
        mse_operator().subset(fraction)


@pytest.mark.parametrize(
    "vector",
    [
        torch.ones(3, dtype=torch.float64),
        torch.ones(1, 1, 54, dtype=torch.float64),
        torch.ones(54),
        torch.ones(54, dtype=torch.float64, device="meta"),
    ],
    ids=["size", "dimensions", "dtype", "device"],
)
def test_a_vector_that_does_not_fit_is_refused(vector: Tensor) -> None:
    op = mse_operator()
    assert op.size == 54
    with pytest.raises(
        ValueError, match=r"the vector has shape, dtype and device .*, expected \(54,\), torch.float64, cpu"
    ):
        op @ vector
