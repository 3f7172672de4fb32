"""Other implementations compute the same product and never stop early."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.curvature.peers import NEVER, installed, ours, paper
from benchmarks.curvature.problems import PeerProblem


def problem() -> PeerProblem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)).eval()
    return PeerProblem(model, torch.randn(12, 3, 8, 8), torch.arange(12) % 5)


def implementations() -> dict[str, Any]:
    built = {"ours": ours(problem()), "paper": paper(problem())}
    built |= {f"{name} {way}": build(problem(), 4) for name, ways in installed().items() for way, build in ways.items()}
    return built


@pytest.mark.filterwarnings("ignore")
def test_all_implementations_compute_the_same_product() -> None:
    torch.manual_seed(0)
    built = implementations()
    assert len(built) >= 5, "the test requirements include curvlinops and hessian-eigenthings"
    vector = torch.randn(sum(parameter.numel() for parameter in problem().model.parameters()))
    expected = built["paper"].product(vector)
    for name, implementation in built.items():
        assert float((implementation.product(vector) - expected).norm() / expected.norm()) < 1e-5, name


class Counted(list[Any]):
    """A list of batches that counts how often it is iterated."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return super().__iter__()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["PyHessian", "hessian-eigenthings", "curvlinops"])
def test_no_library_stops_before_its_last_product(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in installed():
        pytest.skip("pip install 'hessian-dynamics[bench]'")
    monkeypatch.setattr(PeerProblem, "batches", lambda self, size: Counted([(self.inputs, self.targets)]))
    ways = installed()[name]
    seen: list[Counted] = []
    original = PeerProblem.batches
    monkeypatch.setattr(PeerProblem, "batches", lambda self, size: seen.append(original(self, size)) or seen[-1])
    implementation = next(iter(ways.values()))(problem(), 12)
    before = seen[0].passes
    implementation.power(3)
    assert seen[0].passes == before + 3
    implementation.trace(4)
    assert seen[0].passes == before + 7


def test_zero_change_is_not_below_the_tolerance() -> None:
    assert NEVER < -1e300


def test_pyhessian_is_optional() -> None:
    assert ("PyHessian" in installed()) == (importlib.util.find_spec("pyhessian") is not None)
