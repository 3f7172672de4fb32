"""The threshold in units of the Hessian's eigenvalues."""

from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.figures.quantities.plain_threshold import plain_threshold
from tests.analysis import planted

SGD = {"name": "sgd", "lr": 0.1}


def _threshold(measured: float | None = None, **changes: Any) -> float:
    columns = {"hessian_lambda_max": np.ones((1, 4))}
    if measured is not None:
        columns["stability_threshold"] = np.full((1, 4), measured)
    found = planted.frames([planted.trial(0, 3, **changes)], columns)
    return float(plain_threshold(found, found.epochs).iloc[-1])


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD, 20.0),
        ({**SGD, "momentum": 0.9}, 38.0),
        ({**SGD, "momentum": 0.9, "nesterov": True}, 38.0 / 2.8),
        ({**SGD, "weight_decay": 1.5}, 18.5),
    ],
)
def test_closed_form_without_a_measurement(optimizer: dict[str, Any], expected: float) -> None:
    assert _threshold(optimizer=optimizer) == pytest.approx(expected)


def test_the_measured_threshold_counts() -> None:
    assert _threshold(7.0, optimizer={**SGD, "sam": {"rho": 0.1}}) == 7.0
    assert _threshold(7.0, optimizer={**SGD, "weight_decay": 1.5}, schedule={"name": "cosine"}) == 5.5


def test_optimizers_that_rescale_the_hessian_have_none() -> None:
    assert np.isnan(_threshold(7.0, optimizer={"name": "adam", "lr": 0.1}))
    assert np.isnan(_threshold(optimizer={"name": "torch.optim:NAdam"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {**SGD, "sam": {"rho": 0.1}}},
        {"optimizer": {**SGD, "gradient_clip": 1.0}},
        {"optimizer": SGD, "schedule": {"name": "cosine"}},
        {"optimizer": SGD, "schedule": {"name": "constant", "warmup_epochs": 2}},
    ],
)
def test_a_threshold_that_changes_is_unknown_without_a_measurement(changes: dict[str, Any]) -> None:
    assert np.isnan(_threshold(**changes))
