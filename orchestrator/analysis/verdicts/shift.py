"""Conjecture 2: lambda_max explains more of the accuracy under distribution shift than validation accuracy does."""

from functools import partial

import pandas as pd

from orchestrator.analysis.quantities import LAMBDA_MAX, OOD, TEST, VALIDATION, has_accuracies
from orchestrator.analysis.tables.record_changes import RecordChanges, record_changes
from orchestrator.analysis.tables.regression import FittedModel, fit
from orchestrator.analysis.verdicts.verdict import ALPHA, Conclusion, Verdict
from orchestrator.store.frames import Frames

LEAST_CHANGES = 60
LEAST_TRIALS = 6
MARGIN_POINTS = 0.1
"""If one standard deviation of d(lambda_max) changes the accuracy by fewer percentage points, the effect is zero."""


def judge_shift(frames: Frames) -> Verdict:
    """Regresses changes of OOD and test accuracy on changes of lambda_max and validation accuracy."""
    if not has_accuracies(frames.epochs):
        return Verdict(2, Conclusion.NOT_ENOUGH_DATA, "No stored epoch has an accuracy.")
    changes = record_changes(frames, [LAMBDA_MAX, VALIDATION, TEST, OOD])
    verdict = partial(Verdict, 2, left_out=_left_out(changes, frames.sweep.unit))
    if changes.trials < LEAST_TRIALS or len(changes.rows) < LEAST_CHANGES:
        required = f"at least {LEAST_CHANGES} from {LEAST_TRIALS} are required"
        text = f"There are {len(changes.rows)} changes from {changes.trials} trials; {required}."
        return verdict(Conclusion.NOT_ENOUGH_DATA, text)
    ood, test = (fit(changes.rows, response, [LAMBDA_MAX, VALIDATION]) for response in (OOD, TEST))
    if ood is None or test is None:
        text = "lambda_max and validation accuracy are constant or collinear, so their effects cannot be separated."
        return verdict(Conclusion.NOT_ENOUGH_DATA, text)
    return verdict(*_compare(changes.rows, ood, test))


def _compare(rows: pd.DataFrame, ood: FittedModel, test: FittedModel) -> tuple[Conclusion, str]:
    """Tests for (a) a negative effect on OOD accuracy and (b) an effect on test accuracy that is equivalent to zero."""
    effect, null = ood[LAMBDA_MAX], test[LAMBDA_MAX]
    bound = MARGIN_POINTS / float(rows[LAMBDA_MAX].std())
    low, high = null.interval(1 - 2 * ALPHA, test.trials)
    negative = effect.estimate < 0 and effect.clustered_p <= ALPHA
    equivalent = -bound < low and high < bound
    text = (
        f"Controlling for validation accuracy, the coefficient of lambda_max is {effect.estimate:.4g} (clustered error "
        f"{effect.clustered_error:.2g}, p {effect.clustered_p:.2g}) for OOD accuracy and {null.estimate:.4g} for test "
        f"accuracy (90% interval {low:.3g} to {high:.3g}; within ±{bound:.3g} counts as zero), in percentage points "
        f"per unit of lambda_max, from {ood.n:,} changes of {ood.trials} trials"
    )
    if negative and equivalent:
        return Conclusion.SUPPORTED, f"{text}."
    if negative and high - low > 2 * bound and low < bound and high > -bound:
        return Conclusion.NOT_ENOUGH_DATA, f"{text}: the interval is too wide to conclude that the effect is zero."
    failed = [] if negative else ["no significant negative effect on OOD accuracy"]
    failed += [] if equivalent else ["an effect on test accuracy is not excluded"]
    return Conclusion.NOT_SUPPORTED, f"{text}: {' and '.join(failed)}."


def _left_out(changes: RecordChanges, unit: str) -> str:
    parts = [f"{changes.gaps} gaps between {unit}s"] if changes.gaps else []
    parts += [f"{changes.not_finite} changes with a missing or non-finite value"] if changes.not_finite else []
    return f"Left out: {' and '.join(parts)}." if parts else ""
