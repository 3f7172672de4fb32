"""Conjecture 3: the sudden drop of the trace indicates that training has stopped."""

from functools import partial

import numpy as np
import pandas as pd

from orchestrator.analysis.groups import completed_trials, curves
from orchestrator.analysis.quantities import TRACE, VALIDATION
from orchestrator.analysis.record_numbers import epochs_per_record
from orchestrator.analysis.verdicts.change_point import SHORTEST, find_drop, find_peak
from orchestrator.analysis.verdicts.coincidence import coincidence
from orchestrator.analysis.verdicts.verdict import ALPHA, Conclusion, Verdict, left_out
from orchestrator.store.frames import Frames

LEAST_TRIALS = 5
NEAR = 0.1
"""Maximum median distance between drop and peak if they coincide, as a fraction of the epochs."""
_COLUMNS = ["trial_id", "drop", "low", "high", "factor", "peak", "epochs"]


def judge_stopping(frames: Frames) -> Verdict:
    """Tests whether the trace drops at the epoch at which the validation accuracy peaks."""
    moments = drops_and_peaks(frames)
    usable, dropped = len(moments), int(moments["drop"].notna().sum())
    both = moments.dropna(subset=["drop", "peak"])
    lacking = f"{SHORTEST} epochs with a trace and a validation accuracy"
    unused = left_out(len(frames.trials), usable, f"because they are incomplete or lack {lacking}")
    verdict = partial(Verdict, 3, left_out=unused)
    counts = f"{dropped} of {usable} trials have a drop and {int(moments.peak.notna().sum())} have a peak"
    if usable < LEAST_TRIALS:
        text = (
            f"{usable} completed trials have a trace and a validation accuracy at {SHORTEST} epochs or more; "
            f"{LEAST_TRIALS} are required."
        )
        return verdict(Conclusion.NOT_ENOUGH_DATA, text)
    if 2 * dropped < usable:
        return verdict(Conclusion.NOT_SUPPORTED, f"Only {counts}: most trials have no sudden drop.")
    if len(both) < LEAST_TRIALS:
        return verdict(Conclusion.NOT_ENOUGH_DATA, f"{counts}; {len(both)} have both, {LEAST_TRIALS} are required.")
    return verdict(*_compare(both, counts))


def drops_and_peaks(frames: Frames) -> pd.DataFrame:
    """One row per completed trial that has a trace and a validation accuracy at `SHORTEST` epochs or more.

    The columns are ``trial_id``, those of `Drop` (its epoch is ``drop``), ``peak`` and the number of ``epochs`` that
    the trace covers. NaN if there is no drop or peak.
    """
    trials = completed_trials(frames)
    traces, accuracies = curves(frames, TRACE, trials), curves(frames, VALIDATION, trials)
    distance = epochs_per_record(frames)
    rows = []
    for trial_id in trials if len(traces.columns) else ():
        trace, accuracy = traces.loc[trial_id].dropna(), accuracies.loc[trial_id].dropna()
        if min(len(trace), len(accuracy)) < SHORTEST:
            continue
        drop = find_drop(trace.index.to_numpy(dtype=float), trace.to_numpy())
        peak = find_peak(accuracy.index.to_numpy(dtype=float), accuracy.to_numpy())
        found = (drop.epoch, drop.low, drop.high, drop.factor) if drop else (np.nan,) * 4
        rows.append([trial_id, *found, np.nan if peak is None else peak, len(trace) * distance[trial_id]])
    return pd.DataFrame(rows, columns=_COLUMNS)


def _compare(both: pd.DataFrame, counts: str) -> tuple[Conclusion, str]:
    test = coincidence(both["drop"].to_numpy(), both.peak.to_numpy())
    width = float((both.high - both.low).median())
    text = (
        f"{counts}. Over the {len(both)} trials with both, the median distance of drop and peak is "
        f"{test.median_distance:g} epochs (median width of the drop's 95% interval: {width:g}); p {test.p:.3g} against "
        "peaks of other trials"
    )
    if test.smallest_p > ALPHA:
        return Conclusion.NOT_ENOUGH_DATA, f"{text}, but no pairing reaches a p below {test.smallest_p:.2g}."
    if test.median_distance <= NEAR * float(both.epochs.median()) and test.p <= ALPHA:
        return Conclusion.SUPPORTED, f"{text}."
    return Conclusion.NOT_SUPPORTED, f"{text}."
