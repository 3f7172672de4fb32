"""The default chunk size."""

import pytest
import torch
from torch import nn

from estimators import HessianOperator
from estimators.problem.chunking import exact_trace_chunk_size
from tests.estimators.cases import Pair, convolutional, images, seeded


def test_default_chunk_size_depends_only_on_model_and_shape() -> None:
    def default(inputs: Pair) -> int:
        return HessianOperator(convolutional().double(), nn.functional.cross_entropy, inputs).chunk_size

    assert default(images(8)) == default(images(100)) > 1
    larger = torch.zeros(8, 2, 8, 8, dtype=torch.float64), torch.zeros(8, dtype=torch.long)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    small_op = HessianOperator(model, nn.functional.cross_entropy, images(8))
    large_op = HessianOperator(model, nn.functional.cross_entropy, larger)
    assert large_op.chunk_size < small_op.chunk_size


def test_default_chunks_of_the_papers_network_fit_the_cache() -> None:
    block = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    block += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Linear(2048, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)]
    data = torch.randn(2, 3, 32, 32, generator=seeded(0)), torch.tensor([0, 1])
    op = HessianOperator(nn.Sequential(*block, nn.Flatten(), *head), nn.functional.cross_entropy, data)
    assert op.size == 994_154
    assert 50 <= op.chunk_size <= 250


def test_recurrent_layers_have_larger_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    class LastState(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.LSTM(4, 3, batch_first=True)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.body(inputs)[0][:, -1]
            return states

    data = torch.randn(2, 5, 4), torch.randn(2, 3)
    size = HessianOperator(LastState(), nn.functional.mse_loss, data).chunk_size
    monkeypatch.setattr("estimators.problem.chunking._RECURRENT_FACTOR", {})
    assert size == pytest.approx(2 * HessianOperator(LastState(), nn.functional.mse_loss, data).chunk_size, abs=1)


@pytest.mark.parametrize(("device", "expected"), [("cpu", [1, 1, 110]), ("cuda", [1, 2, 166])])
def test_chunks_of_an_exact_trace_are_smaller_on_a_cpu(device: str, expected: list[int]) -> None:
    assert [exact_trace_chunk_size(size, torch.device(device)) for size in (1, 2, 166)] == expected
