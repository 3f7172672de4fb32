"""The moments of records, in epochs and in steps."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.study.cadence import Cadence, RecordEvery
from orchestrator.study.config import TrialConfig
from orchestrator.study.quantities.quantity_config import STORED
from tests.study.configs import config


@pytest.mark.parametrize(
    ("text", "normal"),
    [("1 epoch", "1 epoch"), ("1 epochs", "1 epoch"), ("5 epoch", "5 epochs"), ("50 steps", "50 steps")],
)
def test_a_distance_is_normalised(text: str, normal: str) -> None:
    assert str(RecordEvery.parse(text)) == normal


@pytest.mark.parametrize("text", ["", "epoch", "0 steps", "-1 steps", "1.5 epochs", "5 batches", "5  steps", 5, None])
def test_other_texts_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=re.escape("must be a number of epochs or steps, for example 1 epoch")):
        RecordEvery.parse(text)


def test_the_last_record_comes_at_the_end() -> None:
    trial = config(epochs=None, steps=12, record_every="5 steps").cadence
    assert [trial.position(number) for number in range(trial.last + 1)] == [0, 5, 10, 12]
    assert [trial.step(number, 5) for number in range(4)] == [0, 5, 10, 12]
    assert [trial.epoch(number, 5) for number in range(4)] == [0, 1, 2, 2.4]
    assert [type(trial.epoch(number, 5)) for number in range(4)] == [int, int, int, float]


def test_epochs_are_converted_to_steps() -> None:
    trial = config(epochs=7, record_every="3 epochs").cadence
    assert [trial.epoch(number, 5) for number in range(trial.last + 1)] == [0, 3, 6, 7]
    assert [trial.step(number, 5) for number in range(trial.last + 1)] == [0, 15, 30, 35]


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 50), st.sampled_from(["epoch", "step"]))
def test_moments_increase_up_to_the_end(count: int, length: int, steps_per_epoch: int, unit: str) -> None:
    trial = Cadence(RecordEvery.parse(f"{count} {unit}"), length)
    steps = [trial.step(number, steps_per_epoch) for number in range(trial.last + 1)]
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))
    assert (steps[0], trial.position(trial.last)) == (0, length)
    assert [trial.number(trial.position(number)) for number in range(trial.last + 1)] == list(range(trial.last + 1))
    assert trial.uneven == (length % count > 0)
    for number, step in enumerate(steps):
        assert round(trial.epoch(number, steps_per_epoch) * steps_per_epoch) == step


def test_the_length_counts_for_the_id_only_if_records_depend_on_it() -> None:
    def trial_id(steps: int, **fields: object) -> str:
        return config(**{"epochs": None, "steps": steps, "record_every": "5 steps", **fields}).trial_id

    assert trial_id(10) == trial_id(15) != config().trial_id
    assert trial_id(10) != trial_id(12) != trial_id(13), "the last record of 12 steps is not a record of 15 steps"
    assert trial_id(10, schedule={"name": "cosine"}) != trial_id(15, schedule={"name": "cosine"})
    assert config(record_every="1 epochs").trial_id == config().trial_id != config(record_every="2 epochs").trial_id


def test_a_trial_can_be_cut_or_extended_at_a_record() -> None:
    trial = config(epochs=None, steps=20, record_every="5 steps")
    assert [trial.until(number).steps for number in (0, 1, 3, 9)] == [5, 5, 15, 45]
    assert trial.until(3).trial_id == trial.trial_id
    assert config(epochs=8, record_every="2 epochs").until(3).epochs == 6


def test_a_store_may_contain_records_that_never_come_due() -> None:
    content = {**config().model_dump(), "epochs": 2, "record_every": "3 epochs"}
    assert TrialConfig.model_validate(content, context=STORED).records == 1
    with pytest.raises(ValidationError, match="record_every is 3 epochs, expected at most the length of the trial"):
        TrialConfig.model_validate(content)
