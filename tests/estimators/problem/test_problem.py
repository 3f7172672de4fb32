"""The validated problem: its chunks, subsets and first check."""

import pytest
import torch
from torch import nn

from estimators import HessianOperator
from estimators.problem.problem import Problem
from tests.estimators.cases import convolutional, images, random_vector, smooth, vectors

F = nn.functional


def test_problem_has_the_sizes_of_model_and_data() -> None:
    model = smooth()
    problem = Problem.of(model, F.mse_loss, tuple(part.float() for part in vectors(10)))  # type: ignore[arg-type]
    assert (problem.size, problem.count, problem.dtype, problem.device.type) == (54, 10, torch.float32, "cpu")
    assert list(problem.parameters) == [name for name, _ in model.named_parameters()]
    assert not problem.channels_last


def test_a_subset_has_the_first_samples_and_the_same_memory_format() -> None:
    inputs, targets = images(8)
    problem = Problem.of(convolutional().double(), F.cross_entropy, (inputs, targets))
    subset = problem.subset(0.6)
    assert subset.count == 5 and subset.channels_last and problem.channels_last
    chunks = list(subset.chunks(2))
    assert [len(chunk) for chunk, _ in chunks] == [2, 2, 1]
    assert torch.equal(torch.cat([chunk for chunk, _ in chunks]), inputs[:5])
    assert subset.subset(0.2).count == 1


def test_evaluate_matches_loss_and_gradient_of_the_model() -> None:
    inputs, targets = images(8)
    model = convolutional().double()
    problem = Problem.of(model, F.cross_entropy, (inputs, targets))
    outputs, loss = problem.evaluate(*problem.first(8))
    expected = F.cross_entropy(model(inputs), targets)
    torch.testing.assert_close(outputs, model(inputs))
    parameters = list(problem.parameters.values())
    for found, theirs in zip(*(torch.autograd.grad(value, parameters) for value in (loss, expected)), strict=True):
        torch.testing.assert_close(found, theirs)


def test_the_first_chunk_must_have_a_mean_loss_that_is_not_random() -> None:
    data = vectors(10)

    def noisy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(outputs, targets) * torch.rand(())

    for loss_fn, message in ((nn.MSELoss(reduction="sum"), "must be a mean"), (noisy, "two evaluations of the first")):
        problem = Problem.of(smooth().double(), loss_fn, data)
        with problem.measuring(), pytest.raises(ValueError, match=message):
            problem.check_first_chunk(4)


def test_building_a_problem_draws_no_random_numbers_and_leaves_no_gradient() -> None:
    torch.manual_seed(0)
    model = convolutional().double()
    state = torch.get_rng_state()
    Problem.of(model, F.cross_entropy, images(8))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


class Force(nn.Module):
    """The derivative of an energy with respect to the inputs, computed inside the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(3, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.detach().requires_grad_()
        energy = torch.tanh(self.energy(inputs)).square().sum()
        return torch.autograd.grad(energy, inputs, create_graph=True)[0]


def test_a_gradient_inside_the_forward_pass_is_measured() -> None:
    model, data = Force().double(), vectors(6, outputs=3)
    op = HessianOperator(model, F.mse_loss, data, chunk_size=2)
    vector = random_vector(op)
    loss = F.mse_loss(model(data[0]), data[1])
    gradient = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    flat = torch.cat([part.flatten() for part in gradient])
    expected = torch.autograd.grad(flat @ vector, list(model.parameters()))
    torch.testing.assert_close(op @ vector, torch.cat([part.flatten() for part in expected]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_inputs_of_another_dtype_than_the_model_are_refused(dtype: torch.dtype) -> None:
    inputs, targets = vectors(4)
    with pytest.raises(ValueError, match=f"cannot evaluate {dtype} inputs .*expected torch.float32 as its parameters"):
        Problem.of(smooth(), F.mse_loss, (inputs.to(dtype), targets.float()))
