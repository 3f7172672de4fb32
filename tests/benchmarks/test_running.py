"""Every benchmark runs, at a size that proves nothing but that, and shows what it found."""

import importlib.util
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from benchmarks.__main__ import BENCHMARKS
from benchmarks.curvature import products
from benchmarks.curvature.peers import NEVER, Problem, installed, ours, paper
from benchmarks.harness.images import SHAPE, random_data, resident_data
from benchmarks.harness.results import read, write
from benchmarks.harness.settings import Settings, SkippedError
from benchmarks.sweeps import reproducibility
from orchestrator.study.model_config import CnnConfig
from orchestrator.study.optimizer_config import Optimizer
from orchestrator.training.models.networks import build_model
from tests.training.folders import make_folder

TINY = Settings(scale="tiny", threads=1)


_SWEEPS = ("orchestration", "reproducibility", "scaling")  # they run whole sweeps


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in _SWEEPS else []) for name in BENCHMARKS]
)
def test_it_runs(name: str, tmp_path: Path) -> None:
    try:
        result = BENCHMARKS[name].run(TINY)
    except SkippedError as why:
        pytest.skip(str(why))
    # From the file, as the README's tables are made.
    again = read(write(result, tmp_path))
    shown = BENCHMARKS[name].table(again)
    assert shown.startswith("| ")
    assert shown == BENCHMARKS[name].table(result)
    assert "failed" not in shown


def test_too_few_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "cache"))
    folder = make_folder(tmp_path / "images")
    expected = "images' leaves 27 images to train on, expected at least 28: take a larger folder, or random images"
    with pytest.raises(ValueError, match=expected):
        resident_data(Settings(folder, "tiny", threads=1), needed=28)
    assert len(resident_data(Settings(folder, "tiny", threads=1), needed=27).train) == 27


def problem() -> Problem:
    data = random_data(divisor=1000)
    model = build_model(CnnConfig(name="cnn"), SHAPE, 10, seed=0).eval()
    return Problem(model, data.normalise(data.train.pixels[:12]), data.train.labels[:12])


def implementations() -> dict[str, Any]:
    built = {"ours": ours(problem()), "paper": paper(problem())}
    built |= {f"{name} {way}": build(problem(), 4) for name, ways in installed().items() for way, build in ways.items()}
    return built


@pytest.mark.filterwarnings("ignore")
def test_all_compute_the_same_product() -> None:
    torch.manual_seed(0)
    built = implementations()
    assert len(built) >= 5, "curvlinops and hessian-eigenthings come with the tests"
    vector = torch.randn(994_154)
    expected = built["paper"].product(vector)
    for name, implementation in built.items():
        assert float((implementation.product(vector) - expected).norm() / expected.norm()) < 1e-5, name


class Counted(list[Any]):
    """Batches that count how often they are passed over."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return super().__iter__()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["PyHessian", "hessian-eigenthings", "curvlinops"])
def test_no_library_stops_before_its_last_product(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in installed():
        pytest.skip("pip install 'hessian-dynamics[bench]'")
    monkeypatch.setattr(Problem, "batches", lambda self, size: Counted([(self.inputs, self.labels)]))
    ways = installed()[name]
    seen: list[Counted] = []
    original = Problem.batches
    monkeypatch.setattr(Problem, "batches", lambda self, size: seen.append(original(self, size)) or seen[-1])
    implementation = next(iter(ways.values()))(problem(), 12)
    before = seen[0].passes
    implementation.power(3)
    assert seen[0].passes == before + 3
    implementation.trace(4)
    assert seen[0].passes == before + 7


def test_no_change_is_below_the_tolerance() -> None:
    assert NEVER < -1e300


def test_the_papers_products_are_added_in_proportion() -> None:
    samples = {"ours: power": [1.0, 2.0], "ours: trace": [3.0, 4.0]}
    samples |= {f"{products.PAPER}: power": [5.0, 6.0], f"{products.PAPER}: trace": [7.0, 8.0]}
    totals = products.totals_by_name({"steps": 10, "paper_steps": 2, "samples": samples})
    assert totals == {"ours": [4.0, 6.0], products.PAPER: [60.0, 70.0]}


def test_every_optimizer_is_compared() -> None:
    (union, *_) = get_args(Optimizer)
    assert set(get_args(union)) == {type(config) for config in reproducibility.OPTIMIZERS.values()}


@pytest.mark.parametrize(
    ("code", "said", "outcome", "numbers"),
    [
        (0, "identical: all 1234 numbers of epochs 0 to 2, bit for bit", "yes", 1234),
        (1, "1 of 3 epochs differ, first epoch 2:\n  loss/train: here 1.0, stored 2.0", "**no**", 0),
        (2, "error: trial x has no stored epochs to compare with; run the sweep first", "**failed**", 0),
    ],
)
def test_what_a_comparison_said(code: int, said: str, outcome: str, numbers: int) -> None:
    found = reproducibility.outcome(code, said)
    assert (found["outcome"], found["numbers"]) == (outcome, numbers)


def test_pyhessian_is_optional() -> None:
    assert ("PyHessian" in installed()) == (importlib.util.find_spec("pyhessian") is not None)
