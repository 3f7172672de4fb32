"""The numbers of the records in the tables of a sweep, and their distance in epochs."""

import pandas as pd

from orchestrator.store.frames import Frames


def record_numbers(frames: Frames) -> "pd.Series[int]":
    """The number of each record in `frames.epochs`. Record 0 is the untrained model."""
    by_id, rows = frames.sweep.by_id, frames.epochs
    moments = zip(rows.trial_id, rows.epoch, rows.step, strict=True)
    numbers = [
        by_id[key].cadence.number(step if by_id[key].cadence.in_steps else epoch) for key, epoch, step in moments
    ]
    return pd.Series(numbers, rows.index, dtype="int64")


def epochs_per_record(frames: Frames) -> "pd.Series[float]":
    """The mean distance of the records of each trial, in epochs, by trial id; 1 if there is a record per epoch.

    Trials without a record of training are left out.
    """
    last = frames.epochs.assign(number=record_numbers(frames)).sort_values("number").groupby("trial_id").last()
    trained = last[last.number > 0]
    return trained.epoch / trained.number
