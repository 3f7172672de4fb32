"""Traces of language models [n, positions, vocabulary] with losses that flatten the positions."""

import pytest
import torch
from torch import Tensor, nn

from estimators import HessianOperator, exact_trace, hessian_trace, sampled_trace
from tests.estimators.cases import seeded
from tests.estimators.networks import dense_gauss_newton
from tests.estimators.trace.roots.losses import CROSS_ENTROPIES, LOOK_ALIKES, VOCABULARY, Loss

F = nn.functional
SAMPLES, CONTEXT, WIDTH = 5, 2, 3


class Attention(nn.Module):
    """One head of causal attention over embedded tokens, and scores of the next token."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Parameter(torch.randn(CONTEXT, WIDTH))
        self.queries, self.values = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.embedding(inputs) + self.position
        queries, keys = self.queries(hidden).chunk(2, dim=-1)
        masked = (queries @ keys.mT).masked_fill(torch.ones(CONTEXT, CONTEXT).triu(1) > 0, -torch.inf)
        scores: Tensor = self.head(self.norm(hidden + masked.softmax(-1) @ self.values(hidden)))
        return scores


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.body = nn.Embedding(VOCABULARY, WIDTH), nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(self.embedding(inputs))[0])
        return scores


class ClassesFirst(nn.Module):
    """The same network with scores [n, vocabulary, positions], as torch's cross_entropy expects them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.model(inputs).transpose(1, 2)
        return scores


MODELS = {"attention": lambda: Attention(False), "tied": lambda: Attention(True), "LSTM": Recurrent}
models = pytest.mark.parametrize("model", MODELS)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]().double()


def text() -> tuple[Tensor, Tensor]:
    """Each sample has token 0 once among its targets."""
    inputs = torch.randint(0, VOCABULARY, (SAMPLES, CONTEXT), generator=seeded(1))
    return inputs, torch.tensor([[0, 3], [2, 0], [0, 1], [1, 0], [0, 2]])


@models
@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_traces_equal_those_of_the_bare_loss(name: str, model: str) -> None:
    wrapped, bare, factor = CROSS_ENTROPIES[name]
    flat, first = network(model), ClassesFirst(network(model))
    found, expected = exact_trace(flat, wrapped, text(), 3), exact_trace(first, bare, text(), 3)
    assert found.value == pytest.approx(factor * expected.value, rel=1e-12)
    assert found.backward_passes == expected.backward_passes == CONTEXT * (VOCABULARY - 1)
    sampled = [
        sampled_trace(net, loss_fn, text(), generator=seeded(2), chunk_size=3)
        for net, loss_fn in ((flat, wrapped), (first, bare))
    ]
    assert sampled[0].value == pytest.approx(factor * sampled[1].value, rel=1e-12)


@models
@pytest.mark.parametrize("name", ["flattened", "padded", "focal", "z-loss", "perplexity"])
def test_traces_equal_the_dense_trace(name: str, model: str) -> None:
    loss_fn: Loss = LOOK_ALIKES[name] if name in LOOK_ALIKES else CROSS_ENTROPIES[name][0]
    dense = dense_gauss_newton(network(model), loss_fn, text()).diagonal(dim1=1, dim2=2).sum(dim=1)
    found = exact_trace(network(model), loss_fn, text(), chunk_size=3)
    torch.testing.assert_close(found.per_sample, dense, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["flattened", "z-loss", "perplexity"])
def test_the_sampled_trace_is_unbiased(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of these losses needs pairs of vectors, if outputs are many."""
    monkeypatch.setattr("estimators.trace.gauss_newton._RandomSigns.max_entries", CONTEXT * VOCABULARY**2)
    loss_fn: Loss = LOOK_ALIKES[name] if name in LOOK_ALIKES else CROSS_ENTROPIES[name][0]
    exact = exact_trace(network("tied"), loss_fn, text())
    found = sampled_trace(network("tied"), loss_fn, text(), vectors=150, generator=seeded(3))
    assert 0.0 < found.standard_error < 0.15 * exact.value
    assert abs(found.value - exact.value) < 4.0 * found.standard_error


def test_the_exact_trace_of_a_loss_with_many_outputs_needs_no_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss_fn = network("attention"), LOOK_ALIKES["perplexity"]
    expected = exact_trace(model, loss_fn, text())
    monkeypatch.setattr("estimators.trace.gauss_newton._AllColumns.max_entries", 0)
    found = exact_trace(model, loss_fn, text())
    assert found.backward_passes == 2 * CONTEXT * VOCABULARY
    torch.testing.assert_close(found.per_sample, expected.per_sample, rtol=1e-10, atol=1e-12)


def test_the_trace_of_the_hessian_accepts_a_wrapped_loss() -> None:
    wrapped, bare, _ = CROSS_ENTROPIES["flattened"]
    found = hessian_trace(HessianOperator(network("tied"), wrapped, text()), 3, sampled=True, generator=seeded(1))
    first = HessianOperator(ClassesFirst(network("tied")), bare, text())
    assert found.value == pytest.approx(hessian_trace(first, 3, sampled=True, generator=seeded(1)).value, rel=1e-10)
