"""What a sweep says of the paper's three conjectures, by the rules in docs/conjectures.md."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from orchestrator.analysis.groups import Groups, curves, grouped, varied_keys, whole_trials
from orchestrator.analysis.tables.epoch_changes import Changes, changes
from orchestrator.analysis.tables.regression import Model, fit
from orchestrator.analysis.verdicts.change_point import SHORTEST, Coincidence, Drop, coincidence, find_drop, find_peak
from orchestrator.analysis.verdicts.permutation_test import Separation, separation, smallest_p
from orchestrator.store.frames import Frames

ALPHA = 0.05
EARLY = 0.2
"""The share of training that counts as its early stages."""
LEAST_CHANGES = 60
LEAST_CLUSTERS = 6
MARGIN_POINTS = 0.1
"""Percentage points of accuracy that a standard deviation of d(lambda_max) may move and still count as none."""
LEAST_COINCIDENCES = 5
NEAR = 0.1
"""The share of the epochs within which drop and peak count as one moment."""

LAMBDA, TRACE = "hessian_lambda_max", "hessian_trace"
VALIDATION, TEST, OOD, LOSS = "accuracy_validation", "accuracy_test", "accuracy_ood", "loss_train"


class Outcome(StrEnum):
    """What can be said."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True)
class Verdict:
    """One conjecture, judged."""

    conjecture: int
    claim: str
    outcome: Outcome
    sentence: str
    """Why, with its numbers."""
    left_out: str = ""
    """What was not used, and why; empty where everything was."""


_CLAIMS = {
    1: "Hyperparameters are different explorers: lambda_max differs between them from early on.",
    2: "lambda_max tells more of the accuracy under a shift of distribution than the validation accuracy does.",
    3: "The sudden drop of the trace says that training has stopped.",
}


def judge(frames: Frames, by: str | None = None) -> tuple[Verdict, Verdict, Verdict]:
    """All three, of one sweep."""
    return explorers(frames, by), shift(frames), stopping(frames)


def group_key(frames: Frames, by: str | None = None) -> str | None:
    """The key that makes the groups: the one asked for, else the first that can be told apart, else the first."""
    if by is not None:
        return by
    keys = varied_keys(frames)
    return next((key for key in keys if _reachable(grouped(frames, key, whole_trials(frames))) <= ALPHA), None) or next(
        iter(keys), None
    )


def explorers(frames: Frames, by: str | None = None) -> Verdict:
    """Conjecture 1."""
    key = group_key(frames, by)
    if key is None:
        return _verdict(1, Outcome.NOT_ENOUGH_DATA, "The trials differ in nothing but their seeds.")
    groups = grouped(frames, key, whole_trials(frames))
    table = curves(frames, LAMBDA, groups.members.trial_id)
    members, values, epochs = _complete(groups, table)
    left_out = _left_out(len(frames.trials), len(members), f"for groups by {key}")
    blocks = members.groupby("block").value.nunique()
    if not len(values) or not len(epochs) or not (blocks > 1).any():
        text = f"No two values of {key} have trials with lambda_max at every epoch that agree in all else."
        return _verdict(1, Outcome.NOT_ENOUGH_DATA, text, left_out)
    labels, places = pd.factorize(members.value)[0], members.block.to_numpy()
    least = smallest_p(labels, places)
    what = f"{len(members)} trials, {members.value.nunique()} values of {key}, {len(blocks)} blocks"
    if least > ALPHA:
        text = f"With {what}, no arrangement reaches a p below {least:.3f}; {ALPHA} is needed."
        return _verdict(1, Outcome.NOT_ENOUGH_DATA, text, left_out)
    found = separation(np.arcsinh(values), labels, places)
    first = found.first(ALPHA)
    early = max(1, int(EARLY * float(epochs[-1])))
    if first is None:
        text = f"At no epoch does lambda_max differ beyond seeds (smallest adjusted p {found.p.min():.3f}; {what})."
        return _verdict(1, Outcome.NOT_SUPPORTED, text, left_out)
    moment = int(epochs[first])
    text = (
        f"Groups differ in lambda_max beyond their seeds from epoch {moment} on (adjusted p {found.p[first]:.3g}; "
        f"early means up to epoch {early}; {what}). {_losses(frames, members)}"
    )
    return _verdict(1, Outcome.SUPPORTED if moment <= early else Outcome.NOT_SUPPORTED, text, left_out)


def shift(frames: Frames) -> Verdict:
    """Conjecture 2."""
    found = changes(frames.epochs, [LAMBDA, VALIDATION, TEST, OOD])
    left_out = _unused(found)
    if found.trials < LEAST_CLUSTERS or len(found.rows) < LEAST_CHANGES:
        least = f"at least {LEAST_CHANGES} of {LEAST_CLUSTERS} are needed"
        text = f"{len(found.rows)} changes of {found.trials} trials; {least}."
        return _verdict(2, Outcome.NOT_ENOUGH_DATA, text, left_out)
    ood, test = (fit(found.rows, response, [LAMBDA, VALIDATION]) for response in (OOD, TEST))
    if ood is None or test is None:
        text = "lambda_max and validation accuracy change together or not at all: no regression tells them apart."
        return _verdict(2, Outcome.NOT_ENOUGH_DATA, text, left_out)
    return _verdict(2, *_halves(found.rows, ood, test), left_out)


def stopping(frames: Frames) -> Verdict:
    """Conjecture 3."""
    moments = drops_and_peaks(frames)
    long_enough, both = len(moments), moments.dropna(subset=["drop", "peak"])
    dropped = int(moments["drop"].notna().sum())
    left_out = _left_out(len(frames.trials), long_enough, f"for want of {SHORTEST} epochs with a trace")
    told = f"{dropped} of {long_enough} trials have a drop, {int(moments.peak.notna().sum())} a peak"
    if long_enough < LEAST_COINCIDENCES:
        text = (
            f"{long_enough} whole trials have a trace and a validation accuracy at {SHORTEST} epochs or more; "
            f"{LEAST_COINCIDENCES} are needed."
        )
        return _verdict(3, Outcome.NOT_ENOUGH_DATA, text, left_out)
    if 2 * dropped < long_enough:
        return _verdict(3, Outcome.NOT_SUPPORTED, f"Only {told}: a sudden drop is not the rule.", left_out)
    if len(both) < LEAST_COINCIDENCES:
        text = f"{told}; {len(both)} have both, {LEAST_COINCIDENCES} are needed."
        return _verdict(3, Outcome.NOT_ENOUGH_DATA, text, left_out)
    found = coincidence(both["drop"].to_numpy(), both.peak.to_numpy())
    return _verdict(3, *_moments(found, both, told), left_out)


def drops_and_peaks(frames: Frames) -> pd.DataFrame:
    """One row a whole trial of `SHORTEST` epochs: ``drop``, ``low``, ``high``, ``factor`` and ``peak``; NaN: none."""
    trials = whole_trials(frames)
    traces, accuracies = curves(frames, TRACE, trials), curves(frames, VALIDATION, trials)
    rows = []
    for trial_id in trials:
        trace = traces.loc[trial_id].dropna() if len(traces.columns) else pd.Series(dtype=float)
        accuracy = accuracies.loc[trial_id].dropna() if len(accuracies.columns) else pd.Series(dtype=float)
        if min(len(trace), len(accuracy)) < SHORTEST:
            continue
        drop = find_drop(trace.index.to_numpy(dtype=float), trace.to_numpy())
        peak = find_peak(accuracy.index.to_numpy(dtype=float), accuracy.to_numpy())
        rows.append(
            {"trial_id": trial_id, **_told(drop), "peak": np.nan if peak is None else peak, "epochs": len(trace)}
        )
    return pd.DataFrame(rows, columns=["trial_id", "drop", "low", "high", "factor", "peak", "epochs"])


def _told(drop: Drop | None) -> dict[str, float]:
    if drop is None:
        return dict.fromkeys(("drop", "low", "high", "factor"), np.nan)
    return {"drop": drop.epoch, "low": drop.low, "high": drop.high, "factor": drop.factor}


def _reachable(groups: Groups) -> float:
    members = groups.members
    if not len(members):
        return 1.0
    return smallest_p(pd.factorize(members.value)[0], members.block.to_numpy())


def _complete(groups: Groups, table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Trials with every epoch of the shortest one among them, their values, and the epochs."""
    members = groups.members
    if not len(members) or not len(table.columns):
        return members.iloc[:0], np.empty((0, 0)), np.empty(0)
    last = table.notna().mul(table.columns.to_numpy(), axis=1).max(axis=1)
    epochs = table.columns[table.columns <= last[last > 0].min()] if (last > 0).any() else table.columns[:0]
    there = table[epochs].notna().all(axis=1).to_numpy() & (len(epochs) > 0)
    kept = members[there]
    several = kept.groupby("block").value.transform("nunique") > 1
    kept = kept[several].reset_index(drop=True)
    return kept, table.loc[kept.trial_id, epochs].to_numpy(), epochs.to_numpy()


def _losses(frames: Frames, members: pd.DataFrame) -> str:
    """Whether the training loss tells the groups apart too: the paper's curves lie close together."""
    table = curves(frames, LOSS, members.trial_id)
    if not len(table.columns) or table.isna().any(axis=None):
        return "Their training losses were not compared: some are missing."
    labels = pd.factorize(members.value)[0]
    found: Separation = separation(table.to_numpy(), labels, members.block.to_numpy())
    first = found.first(ALPHA)
    if first is None:
        return "Their training losses do not differ at any epoch."
    return f"Their training losses differ from epoch {int(table.columns[first])} on."


def _halves(rows: pd.DataFrame, ood: Model, test: Model) -> tuple[Outcome, str]:
    lead, null = ood[LAMBDA], test[LAMBDA]
    bound = MARGIN_POINTS / float(rows[LAMBDA].std())
    low, high = null.interval(1 - 2 * ALPHA, test.trials)
    negative = lead.estimate < 0 and lead.clustered_p <= ALPHA
    equivalent = -bound < low and high < bound
    text = (
        f"Beside validation accuracy the coefficient of lambda_max is {lead.estimate:.4g} "
        f"(clustered error {lead.clustered_error:.2g}, p {lead.clustered_p:.2g}) for OOD accuracy "
        f"and {null.estimate:.4g} for test accuracy, 90% interval {low:.3g} to {high:.3g} where ±{bound:.3g} counts "
        f"as nothing (percentage points a nat; {ood.n:,} changes of {ood.trials} trials)"
    )
    if negative and equivalent:
        return Outcome.SUPPORTED, f"{text}."
    if negative and high - low > 2 * bound and low < bound and high > -bound:
        return Outcome.NOT_ENOUGH_DATA, f"{text}: the interval is too wide to call it nothing."
    failed = [] if negative else ["OOD accuracy does not follow lambda_max beyond doubt"]
    failed += [] if equivalent else ["test accuracy may follow it too"]
    return Outcome.NOT_SUPPORTED, f"{text}: {', and '.join(failed)}."


def _moments(found: Coincidence, both: pd.DataFrame, told: str) -> tuple[Outcome, str]:
    wide = float((both.high - both.low).median())
    text = (
        f"{told}; drop and peak lie {found.median_distance:g} epochs apart in the median of {len(both)} trials "
        f"(the drop's 95% interval spans {wide:g}), p {found.p:.3g} against peaks of other trials"
    )
    if found.smallest_p > ALPHA:
        return Outcome.NOT_ENOUGH_DATA, f"{text}, of which no pairing reaches less than {found.smallest_p:.2g}."
    if found.median_distance <= NEAR * float(both.epochs.median()) and found.p <= ALPHA:
        return Outcome.SUPPORTED, f"{text}."
    return Outcome.NOT_SUPPORTED, f"{text}."


def _verdict(number: int, outcome: Outcome, sentence: str, left_out: str = "") -> Verdict:
    return Verdict(number, _CLAIMS[number], outcome, sentence.strip(), left_out)


def _left_out(trials: int, used: int, why: str) -> str:
    return "" if used == trials else f"{trials - used} of {trials} trials could not be used {why}."


def _unused(found: Changes) -> str:
    parts = [f"{found.gaps} gaps between epochs"] if found.gaps else []
    parts += [f"{found.not_finite} changes with a value missing or not finite"] if found.not_finite else []
    return f"Left out: {' and '.join(parts)}." if parts else ""
