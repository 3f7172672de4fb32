"""Groups of trials that differ in one key."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.store.frames import FACTS, Frames

SEED = "seed"
_NOT_CONFIG = {"trial_id", "epochs", "steps", "data.path", *FACTS}


class GroupKeyError(ValueError):
    """Trials cannot be grouped by this key. The message lists the keys that vary."""


@dataclass(frozen=True)
class Groups:
    """Trials grouped by the value of a key.

    The trials of a block have equal settings, except for this key, the seed, the length and the data path.
    """

    key: str
    members: pd.DataFrame
    """Columns ``trial_id``, ``value`` (of the key) and ``block`` (a number). Every block has at least two values."""


def varied_keys(frames: Frames) -> list[str]:
    """The keys that vary between trials, numeric ones first. Excludes seed, length and data path."""
    keys = [
        key for key in frames.sweep.varied if key in frames.trials and key not in (SEED, "epochs", "steps", "data.path")
    ]
    return sorted(keys, key=lambda key: not pd.api.types.is_numeric_dtype(frames.trials[key]))


def group_by(frames: Frames, key: str, trial_ids: "pd.Series[str] | None" = None) -> Groups:
    """Groups trials by the value of a key. Uses all trials if no ids are given.

    Raises:
        GroupKeyError: the key is not a setting of these trials.
    """
    if key not in frames.trials.columns or key in _NOT_CONFIG:
        known = ", ".join(varied_keys(frames)) or "none"
        raise GroupKeyError(f"--by {key!r}: trials cannot be grouped by it; keys that vary: {known}")
    trials = frames.trials if trial_ids is None else frames.trials[frames.trials.trial_id.isin(trial_ids)]
    rest = [column for column in trials.columns if column not in (_NOT_CONFIG | {key, SEED})]
    texts = ["\x1f".join(map(str, row)) for row in trials[rest].itertuples(index=False)]
    members = pd.DataFrame(
        {"trial_id": trials.trial_id, "value": trials[key], "block": pd.factorize(np.array(texts, dtype=object))[0]}
    )
    members = members.dropna(subset=["value"])
    values = members.groupby("block").value.transform("nunique")
    return Groups(key, members[values > 1].reset_index(drop=True))


def completed_trials(frames: Frames) -> "pd.Series[str]":
    """The ids of the trials that have all their epochs and did not diverge."""
    return frames.trials.trial_id[frames.trials.state == "completed"]


def curves(frames: Frames, column: str, trial_ids: "pd.Series[str]") -> pd.DataFrame:
    """A table of one quantity: one row per trial, one column per epoch. Values that are not finite become NaN.

    Epoch 0 is left out. Records inside an epoch have fractional epochs.
    """
    chosen = frames.epochs[frames.epochs.trial_id.isin(trial_ids) & (frames.epochs.epoch > 0)]
    table = chosen.pivot(index="trial_id", columns="epoch", values=column)
    return table.reindex(pd.Index(trial_ids, name="trial_id")).replace([np.inf, -np.inf], np.nan)
