"""Outcomes of comparisons."""

from typing import get_args

import pytest

from benchmarks.sweeps import reproducibility
from orchestrator.study.parts.optimizer_config import Optimizer, OptimizerClassConfig


def test_every_built_in_optimizer_is_compared() -> None:
    (union, *_) = get_args(Optimizer)
    configs = {get_args(tagged)[0] for tagged in get_args(union)}
    assert configs - {OptimizerClassConfig} == {type(config) for config in reproducibility.OPTIMIZERS.values()}


@pytest.mark.parametrize(
    ("code", "output", "outcome", "numbers"),
    [
        (0, "identical: all 1234 numbers of epochs 0 to 2, bit for bit", "yes", 1234),
        (1, "1 of 3 epochs differ, first epoch 2:\n  loss/train: here 1.0, stored 2.0", "**no**", 0),
        (2, "error: trial x has no stored records to compare with; run the sweep first", "**failed**", 0),
    ],
)
def test_outcome_of_a_comparison(code: int, output: str, outcome: str, numbers: int) -> None:
    found = reproducibility.outcome(code, output)
    assert (found["outcome"], found["numbers"]) == (outcome, numbers)
