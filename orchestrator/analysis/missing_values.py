"""The values that records of a sweep should have but lack. Quantities that were not requested are not missing."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from orchestrator.analysis.quantities import LOSS
from orchestrator.analysis.record_numbers import record_numbers
from orchestrator.store.frames import Frames
from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.quantities.quantity import Quantity, column_of
from orchestrator.study.quantities.quantity_config import QuantityConfig
from orchestrator.study.record import SCALARS

Mask: TypeAlias = "pd.Series[bool]"


def missing_values(frames: Frames) -> list[str]:
    """Returns one sentence per kind of missing value, for the report."""
    if frames.epochs.empty:
        return ["No epoch is stored yet."]
    never, absent = [], []
    for key, due, found in _expected(frames):
        count = int((due & ~found).sum())
        if count == int(due.sum()) and count:
            never.append(key)
        elif count:
            absent.append(f"{key} is missing at {count:,} of {int(due.sum()):,} {frames.sweep.unit}s.")
    return [
        *([f"Never measured: {', '.join(never)}."] if never else []),
        *absent,
        *_gaps(frames),
        *(f"Trial {row.trial_id}: {row.missing_quantities}." for row in _failed(frames)),
    ]


def _gaps(frames: Frames) -> Iterator[str]:
    """Yields one sentence per trial that lacks records before its last one."""
    numbers = record_numbers(frames).groupby(frames.epochs.trial_id)
    gaps = numbers.agg(lambda found: int(found.max()) + 1 - len(found))
    for trial_id, count in gaps[gaps > 0].items():
        yield f"Trial {trial_id} lacks {count} intermediate {frames.sweep.unit}s."


def _failed(frames: Frames) -> Iterator[Any]:
    """Yields the rows of trials in which a quantity of the user raised."""
    yield from frames.trials[frames.trials.missing_quantities.notna()].itertuples()


def _expected(frames: Frames) -> Iterator[tuple[str, Mask, Mask]]:
    """Yields keys, the records at which they are due, and the records that have them."""
    due = _due_quantities(frames)
    requested = _requested(frames, due)
    for quantity in SCALARS:
        yield quantity.key, requested[quantity.key], frames.epochs[quantity.column].notna()
    for name, kind in BUILT_IN.items():
        if kind.quantities and due[name].any():
            yield from _expected_of_kind(frames, kind, due[name])


def _expected_of_kind(frames: Frames, kind: type[QuantityConfig], due: Mask) -> Iterator[tuple[str, Mask, Mask]]:
    """As `_expected`, for the quantities of one kind. A member of a family is due only if its trial ever recorded it.

    Error estimates are not expected: they are missing if their quantity is, or if they cannot be estimated.
    """
    errors = {quantity.error for quantity in kind.quantities}
    values = [quantity for quantity in kind.quantities if quantity.key not in errors and not quantity.is_error]
    families = [quantity for quantity in values if "{" in quantity.key]
    members = [(key, column) for family in families for key, column in _members(frames, family)]
    if families and not members:
        yield families[0].key, due, pd.Series(False, due.index)
    for key, column in members:
        yield key, due & _ever(frames.epochs, column), frames.epochs[column].notna()
    for quantity in values:
        if quantity not in families:
            yield quantity.key, due, _present(frames, quantity)


def _members(frames: Frames, family: Quantity) -> list[tuple[str, str]]:
    """The keys and columns of a family. Columns of remeasured values have a prefix and are not members."""
    found = [(column, family.member(column)) for column in map(str, frames.epochs.columns)]
    return [(member.key, column) for column, member in found if member]


def _present(frames: Frames, quantity: Quantity) -> Mask:
    """The records that have the quantity, a scalar or a vector."""
    if quantity.column in frames.epochs:
        return frames.epochs[quantity.column].notna()
    if quantity.column not in frames.samples:
        return pd.Series(False, frames.epochs.index)
    samples = frames.samples[frames.samples[quantity.column].notna()]
    known = set(zip(samples.trial_id, samples.epoch, strict=True))
    rows = zip(frames.epochs.trial_id, frames.epochs.epoch, strict=True)
    return pd.Series([row in known for row in rows], frames.epochs.index, dtype=bool)


def _due_quantities(frames: Frames) -> dict[str, Mask]:
    """Maps names of built-in quantities to the records at which they are due: not after a trial diverged."""
    by_id, epochs = frames.sweep.by_id, frames.epochs
    known = np.isfinite(epochs[LOSS])
    rows = zip(epochs.trial_id, record_numbers(frames), known, strict=True)
    due = [
        {each.name for each in by_id[key].measurement.due(number)} if finite else set() for key, number, finite in rows
    ]
    return {name: pd.Series([name in names for names in due], epochs.index, dtype=bool) for name in BUILT_IN}


def _requested(frames: Frames, due: dict[str, Mask]) -> dict[str, Mask]:
    """Maps the keys of `Record` to the records that should have them."""
    epochs, trials, numbers = frames.epochs, frames.trials.set_index("trial_id"), record_numbers(frames)
    measured = (numbers % epochs.trial_id.map(trials["measurement.every"]) == 0) & np.isfinite(epochs[LOSS])
    evaluated = numbers % epochs.trial_id.map(trials["evaluate_every"]) == 0
    requested = {quantity.key: pd.Series(True, epochs.index) for quantity in SCALARS}
    for key in requested:
        topic, _, part = key.partition("/")
        if topic in ("hessian", "algorithm1"):
            requested[key] = _any(epochs, [due[name] for name, kind in BUILT_IN.items() if key in kind.record_keys])
        elif topic == "system":  # not known on every machine, nor recorded by earlier versions
            requested[key] = pd.Series(False, epochs.index)
        elif topic in ("loss", "accuracy", "r2"):
            wanted = requested[key] if part == "train" else evaluated
            # Data has accuracies or R2. Version 0.1 did not record the losses of test and shifted samples.
            recorded_with = f"{topic}_train" if topic != "loss" else column_of(key)
            optional = topic != "loss" or key in ("loss/test", "loss/ood")
            requested[key] = wanted & _ever(epochs, recorded_with) if optional else wanted
    requested |= dict.fromkeys(("gradient/norm", "hessian/products", "time/measure_seconds"), measured)
    # The Gauss-Newton trace is not stored if it equals the trace of the Hessian.
    requested["hessian/gauss_newton_trace"] &= _ever(epochs, "hessian_gauss_newton_trace")
    return requested


def _any(epochs: pd.DataFrame, masks: list[Mask]) -> Mask:
    found = pd.Series(False, epochs.index)
    for mask in masks:
        found |= mask
    return found


def _ever(epochs: pd.DataFrame, column: str) -> Mask:
    """Whether any record of the same trial has the quantity."""
    return epochs.trial_id.isin(epochs.trial_id[epochs[column].notna()])
