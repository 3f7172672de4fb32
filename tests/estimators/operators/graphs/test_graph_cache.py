"""Kept graphs give bit-identical products, follow changes of the model and stay within the memory budget."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from estimators import HessianOperator, hutchinson, lanczos, power_iteration
from tests.estimators.cases import (
    CASES,
    Case,
    columns,
    convolutional,
    counting_operator,
    images,
    normalised,
    operator,
    random_vector,
    seeded,
    smooth,
    vectors,
)

HUGE = 2**40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_with_kept_graphs_are_bit_identical(case: Case) -> None:
    op = operator(case)
    block = columns(op, 3)
    expected = op @ block
    for budget in (0, 3000, HUGE):
        keeping = HessianOperator(case.model(), case.loss_fn, case.batches(), case.chunk_size, budget)
        with keeping.keeping_graphs():
            for _ in range(3):
                assert torch.equal(torch.stack([keeping @ vector for vector in block.T.contiguous()], 1), expected)
                assert torch.equal(keeping @ block, expected)
        assert keeping.products == 18.0


@pytest.mark.parametrize(
    "run", [lambda op: power_iteration(op, 5), lambda op: lanczos(op, 5, tolerance=0.0, coarse_fraction=None)]
)
def test_algorithms_keep_graphs(run: Callable[[HessianOperator], object]) -> None:
    model, op = counting_operator(memory_budget=HUGE)
    run(op)
    assert model.forwards == 4 and op.products == 5.0
    assert op._graphs.memory.held == 0
    run(op)
    assert model.forwards == 8
    model, op = counting_operator(memory_budget=0)
    run(op)
    assert model.forwards == 20


def test_one_context_covers_several_algorithms() -> None:
    model, op = counting_operator(memory_budget=HUGE)
    with op.keeping_graphs():
        power_iteration(op, 5, seeded(0))
        hutchinson(op, 5, generator=seeded(1))
        lanczos(op, 5, generator=seeded(2), coarse_fraction=None)
        assert op._graphs.memory.held > 0
    assert model.forwards == 4 and op._graphs.memory.held == 0


def held_by_all_chunks() -> int:
    _, op = counting_operator(memory_budget=HUGE)
    with op.keeping_graphs():
        op @ random_vector(op)
        return op._graphs.memory.held


@pytest.mark.parametrize(("share", "forwards"), [(0.99, 4 + 2 * 1), (0.5, 4 + 2 * 3), (0.05, 4 + 2 * 4)])
def test_graphs_beyond_the_budget_are_built_again(share: float, forwards: int) -> None:
    budget = int(share * held_by_all_chunks())
    model, op = counting_operator(memory_budget=budget)
    with op.keeping_graphs():
        for _ in range(3):
            op @ random_vector(op)
            assert op._graphs.memory.held <= budget
    assert model.forwards == forwards


def test_a_subset_shares_the_budget() -> None:
    budget = held_by_all_chunks()
    model, op = counting_operator(memory_budget=budget)
    with op.keeping_graphs():
        op @ random_vector(op)
        subset = op.subset(0.5)
        expected = subset @ random_vector(op)
        model.forwards = 0
        with subset.keeping_graphs():
            for _ in range(2):
                assert torch.equal(subset @ random_vector(op), expected)
                assert op._graphs.memory.held <= budget
        assert model.forwards == 4
    assert op._graphs.memory.held == 0


def optimizer_step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    sum(parameter.sum() for parameter in model.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()


def load_state(model: nn.Module) -> None:
    model.load_state_dict({name: 0.5 * value for name, value in model.state_dict().items()})


def replace_data(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = 0.5 * parameter.data


def train_mode(model: nn.Module) -> None:
    model.train()


@pytest.mark.parametrize("change", [optimizer_step, load_state, replace_data, train_mode])
def test_kept_graphs_follow_the_model(change: Callable[[nn.Module], None]) -> None:
    model, op = counting_operator(memory_budget=HUGE)
    vector = random_vector(op)
    with op.keeping_graphs():
        before = op @ vector
        change(model)
        after = op @ vector
    assert not torch.allclose(before, after)
    assert torch.equal(after, op @ vector)


def test_kept_graphs_follow_buffers() -> None:
    model = normalised().double()
    op = HessianOperator(model, nn.functional.cross_entropy, images(), chunk_size=3, memory_budget=HUGE)
    vector = random_vector(op)
    with op.keeping_graphs():
        before = op @ vector
        model[1].running_var.mul_(4.0)  # type: ignore[index, operator, union-attr]
        after = op @ vector
    assert not torch.allclose(before, after)
    assert torch.equal(after, op @ vector)


def test_any_change_between_algorithms_is_noticed() -> None:
    model, op = counting_operator(memory_budget=HUGE)
    before = power_iteration(op, 3, seeded(0)).value
    for parameter in model.parameters():
        parameter.data.mul_(0.5)
    after = power_iteration(op, 3, seeded(0)).value
    fresh = HessianOperator(model, nn.functional.mse_loss, vectors(), chunk_size=3, memory_budget=0)
    assert after != before and after == power_iteration(fresh, 3, seeded(0)).value


class ChangesItsBuffer(nn.Module):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 2).double()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(self.body(inputs))


def test_a_forward_pass_that_changes_a_buffer_keeps_no_graph() -> None:
    op = HessianOperator(ChangesItsBuffer(), nn.functional.mse_loss, vectors(), chunk_size=3, memory_budget=HUGE)
    expected = op @ random_vector(op)
    with op.keeping_graphs():
        for _ in range(2):
            assert torch.equal(op @ random_vector(op), expected)
            assert op._graphs.memory.held == 0


def test_an_exception_releases_all_graphs() -> None:
    inputs, targets = images(8)
    targets = torch.tensor([0, 0, 0, 0, 0, 0, 0, 2])
    op = HessianOperator(convolutional().double(), nn.CrossEntropyLoss(ignore_index=2), (inputs, targets), 4, HUGE)
    with op.keeping_graphs():
        for _ in range(2):
            with pytest.raises(ValueError, match="must be a mean over samples"):
                op @ random_vector(op)
            assert op._graphs.memory.held == 0


@pytest.mark.parametrize("budget", [-1, float("nan")])
def test_an_invalid_budget_is_refused(budget: int) -> None:
    with pytest.raises(ValueError, match=f"memory_budget is {budget}, expected bytes, at least 0: 0 keeps no graphs"):
        HessianOperator(smooth().double(), nn.functional.mse_loss, vectors(), memory_budget=budget)


def test_keeping_graphs_evaluates_the_loss_as_often_as_usual() -> None:
    """The check for a mean evaluates all samples of a chunk at once."""
    evaluations: list[int] = []
    for budget in (0, 2**20):
        calls: list[int] = []

        def loss_fn(outputs: Tensor, targets: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(len(outputs))
            return nn.functional.mse_loss(outputs, targets)

        op = HessianOperator(smooth().double(), loss_fn, vectors(), chunk_size=4, memory_budget=budget)
        with op.keeping_graphs():
            op @ random_vector(op)
        evaluations.append(len(calls))
    assert evaluations[0] == evaluations[1]
