"""Conjecture 1: hyperparameters are different explorers."""

from functools import partial

import numpy as np
import pandas as pd

from orchestrator.analysis.groups import Groups, completed_trials, curves, group_by, varied_keys
from orchestrator.analysis.quantities import LAMBDA_MAX, LOSS
from orchestrator.analysis.verdicts.permutation_test import permutation_test, smallest_p
from orchestrator.analysis.verdicts.verdict import ALPHA, Conclusion, Verdict, left_out
from orchestrator.store.frames import Frames

EARLY = 0.2
"""Fraction of the epochs that counts as early in training."""


def group_key(frames: Frames, by: str | None = None) -> str | None:
    """The grouping key: `by` if given, else the first key that can reach significance, else the first key."""
    if by is not None:
        return by
    keys = varied_keys(frames)
    trials = completed_trials(frames)
    return next((key for key in keys if _reachable_p(group_by(frames, key, trials)) <= ALPHA), next(iter(keys), None))


def judge_explorers(frames: Frames, by: str | None = None) -> Verdict:
    """Tests whether lambda_max differs more between groups than between seeds, and from which epoch on."""
    key = group_key(frames, by)
    if key is None:
        return Verdict(1, Conclusion.NOT_ENOUGH_DATA, "The trials differ only in their seeds.")
    groups = group_by(frames, key, completed_trials(frames))
    members, values, epochs = _complete_curves(groups, curves(frames, LAMBDA_MAX, groups.members.trial_id))
    verdict = partial(Verdict, 1, left_out=left_out(len(frames.trials), len(members), f"for groups by {key}"))
    blocks = members.groupby("block").value.nunique()
    if not values.size or not (blocks > 1).any():
        text = f"No two trials with lambda_max at every epoch differ only in {key} (and in the seed)."
        return verdict(Conclusion.NOT_ENOUGH_DATA, text)
    labels, block_of = pd.factorize(members.value)[0], members.block.to_numpy()
    size = f"{len(members)} trials, {members.value.nunique()} values of {key}, {len(blocks)} blocks"
    least = smallest_p(labels, block_of)
    if least > ALPHA:
        text = f"With {size}, no permutation reaches a p below {least:.3f}; {ALPHA} is required."
        return verdict(Conclusion.NOT_ENOUGH_DATA, text)
    test = permutation_test(np.arcsinh(values), labels, block_of)
    first = test.first(ALPHA)
    if first is None:
        smallest = f"smallest adjusted p {test.p.min():.3f}"
        text = f"Groups never differ in lambda_max by more than seeds do ({smallest}; {size})."
        return verdict(Conclusion.NOT_SUPPORTED, text)
    moment, early = float(epochs[first]), _last_early(epochs)
    text = (
        f"Groups differ in lambda_max by more than seeds do from epoch {moment:g} on (adjusted p {test.p[first]:.3g}; "
        f"early means up to epoch {early:g}; {size}). {_loss_sentence(frames, members)}"
    )
    return verdict(Conclusion.SUPPORTED if moment <= early else Conclusion.NOT_SUPPORTED, text)


def _last_early(epochs: np.ndarray) -> float:
    """The last epoch that counts as early: at least the first record. Rounded down if all records are whole epochs."""
    limit = EARLY * float(epochs[-1])
    whole = np.issubdtype(epochs.dtype, np.integer)
    return max(float(epochs[0]), float(int(limit)) if whole else limit)


def _reachable_p(groups: Groups) -> float:
    members = groups.members
    return smallest_p(pd.factorize(members.value)[0], members.block.to_numpy()) if len(members) else 1.0


def _complete_curves(groups: Groups, table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The trials without missing epochs, their values, and the epochs up to the end of the shortest trial."""
    members = groups.members
    if not len(members) or not len(table.columns):
        return members.iloc[:0], np.empty((0, 0)), np.empty(0)
    last = table.notna().mul(table.columns.to_numpy(), axis=1).max(axis=1)
    epochs = table.columns[table.columns <= last[last > 0].min()] if (last > 0).any() else table.columns[:0]
    complete = table[epochs].notna().all(axis=1).to_numpy() & (len(epochs) > 0)
    kept = members[complete]
    kept = kept[kept.groupby("block").value.transform("nunique") > 1].reset_index(drop=True)
    return kept, table.loc[kept.trial_id, epochs].to_numpy(), epochs.to_numpy()


def _loss_sentence(frames: Frames, members: pd.DataFrame) -> str:
    """States whether the groups also differ in the training loss. In the paper, the loss curves are close together."""
    table = curves(frames, LOSS, members.trial_id)
    if not len(table.columns) or table.isna().any(axis=None):
        return "Training losses were not compared because some are missing."
    first = permutation_test(table.to_numpy(), pd.factorize(members.value)[0], members.block.to_numpy()).first(ALPHA)
    if first is None:
        return "Training losses do not differ at any epoch."
    return f"Training losses differ from epoch {float(table.columns[first]):g} on."
