"""Peers that fail or are wrong, and the table of the families."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

from benchmarks.curvature import families
from benchmarks.curvature.agreement import Agreement
from benchmarks.curvature.naive import hessian_product
from benchmarks.curvature.peers import Implementation
from benchmarks.curvature.problems import PeerProblem
from tests.benchmarks.curvature.test_naive import problem
from tests.benchmarks.machines import result


def peer(problem: PeerProblem, chunk: int, scale: float = 1.0) -> Implementation:
    product = hessian_product(problem, chunk)
    return Implementation(lambda _: None, lambda _: None, lambda vector: scale * product(vector))


def failing(problem: PeerProblem, chunk: int) -> Implementation:
    def product(vector: Tensor) -> Tensor:
        raise NotImplementedError("no double backward\nsecond line")

    return Implementation(lambda _: None, lambda _: None, product)


def test_peers_that_fail_or_are_wrong_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"good": peer, "wrong": lambda p, c: peer(p, c, 1.01), "failing": failing}
    monkeypatch.setattr(families, "installed", lambda: {name: {"": build} for name, build in ways.items()})
    small = problem()
    vector = torch.randn(small.size)
    found = families.compared_peers(small, vector, hessian_product(small, 7)(vector), chunks=(1, 7))
    assert list(found.correct()) == ["good"]
    assert found.errors == {"failing": "no double backward"}
    assert found.agreements["wrong"].difference == pytest.approx(0.01, rel=1e-3)
    assert set(found.searches["good"]) == {"7", "1"}


def test_a_wrong_number_of_ours_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "hessian_product", lambda p, chunk: lambda v: 1.01 * hessian_product(p, chunk)(v))
    small = problem()
    with pytest.raises(RuntimeError, match="ours: product: .* by naive double backward .* fix it before timing"):
        families.Ours(small, probes=2).agreements(torch.randn(small.size), chunk=7)


def test_ours_agrees_with_naive_double_backward() -> None:
    small = problem()
    ours, vector = families.Ours(small, probes=8), torch.randn(small.size)
    found = ours.agreements(vector, chunk=3)
    assert set(found) == set(ours.tasks(vector))
    assert found[families.TRACE].probes == 8


def test_table_shows_errors_and_wrong_values() -> None:
    good, wrong = Agreement(1.0, 1.0, 1e-7), Agreement(114.5, 113.8, 4e-3)
    measured = {
        "samples": 100,
        "parameters": 2000,
        "chunks": {families.NAIVE: 50, "good": 25},
        "agreements": {families.TRACE: asdict(good), "good": asdict(good), "wrong": asdict(wrong)},
        "errors": {"failing": "x" * 200},
        "seconds": {families.NAIVE: [1.0, 1.0], families.TRACE: [0.5, 0.5], "good": [1.5, 1.5]},
    }
    shown = families.table(replace(result("families"), versions={"good": "1.2"}, measured={"vit": measured}))
    assert "| ViT     | good 1.2, chunks of 25" in shown
    assert "1.50 (1.50-1.50)" in shown
    assert "| ViT     | ours: trace, no probes" in shown
    assert "wrong: v'Hv is 114.5, not 113.8" in shown
    assert "x" * 75 + "..." in shown
    assert "x" * 76 not in shown
    assert shown.endswith("ViT: 100 samples, 2,000 parameters.")
