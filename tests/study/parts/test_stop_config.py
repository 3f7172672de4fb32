"""The threshold at which a trial is complete."""

import math

import pytest

from orchestrator.study.config import TrialConfig
from orchestrator.study.quantities.quantity_config import STORED
from orchestrator.study.record import Record
from tests.study.configs import config


@pytest.mark.parametrize(
    ("stop", "value", "ends"),
    [
        ({"loss/train": 0.5}, 0.5, True),
        ({"loss/train": 0.5}, 0.51, False),
        ({"accuracy/test": 0.9}, 0.9, True),
        ({"accuracy/test": 0.9}, 0.89, False),
        ({"r2/ood": -1}, -1.0, True),
        ({"r2/ood": -1}, -2.0, False),
    ],
)
def test_losses_stop_at_or_below_and_scores_at_or_above(stop: dict[str, float], value: float, ends: bool) -> None:
    (key,) = stop
    record = Record(1, 5, **{"loss_train": 1.0, key.replace("/", "_"): value})
    assert config(stop=stop).ends_at(record) == ends


def test_a_quantity_that_was_not_evaluated_does_not_stop() -> None:
    assert not config(stop={"accuracy/test": 0.0}).ends_at(Record(1, 5, loss_train=1.0))


def test_a_diverged_trial_is_not_complete() -> None:
    record = Record(1, 5, loss_train=math.nan, accuracy_train=1.0)
    assert not config(stop={"accuracy/train": 0.5}).ends_at(record)
    assert not config().ends_at(record)


def test_it_is_written_as_in_a_sweep_file() -> None:
    trial = config(stop={"loss/train": 0.01})
    assert trial.model_dump(mode="json")["stop"] == {"loss/train": 0.01}
    assert TrialConfig.model_validate_json(trial.model_dump_json()) == trial
    assert trial.trial_id != config(stop={"loss/train": 0.02}).trial_id
    assert (trial.flat()["stop.key"], trial.flat()["stop.threshold"]) == ("loss/train", 0.01)


def test_a_store_may_contain_a_threshold_that_is_never_reached() -> None:
    content = {**config().model_dump(), "stop": {"accuracy/train": 99}}
    assert TrialConfig.model_validate(content, context=STORED).stop is not None
