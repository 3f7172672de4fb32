"""Values of the quantities in `orchestrator.study.expectations.derived`."""

from dataclasses import replace

import numpy as np
import pandas as pd

from orchestrator.analysis.expectations.interval import Interval
from orchestrator.analysis.figures.convergence import QUOTIENTS
from orchestrator.analysis.figures.probes import required_probes
from orchestrator.analysis.figures.trace_fraction import fraction_data
from orchestrator.analysis.quantities import LAMBDA_MAX, OOD, TEST
from orchestrator.analysis.tables.table1 import table1
from orchestrator.store.frames import KEYS, Frames
from orchestrator.study.quantities.quantity import column_of

_CONVERGED = 0.01
_TABLE1 = {
    "table1/test": (TEST, "only maxeig"),
    "table1/test_with_validation": (TEST, "maxeig + val acc"),
    "table1/ood": (OOD, "only maxeig"),
    "table1/ood_with_validation": (OOD, "maxeig + val acc"),
}


def with_derived(frames: Frames) -> Frames:
    """Adds a column for every derived quantity of records to `Frames.epochs`. NaN if it cannot be derived."""
    epochs = frames.epochs.copy()
    for condition in ("strict", "relaxed"):
        epochs[column_of(f"paper/probes_{condition}")] = required_probes(epochs, condition)
    for key, values in (("power_iterations", _power_iterations(frames)), ("fraction_deviation", _deviations(frames))):
        column = column_of(f"paper/{key}")
        epochs = epochs.merge(values.rename(columns={"value": column}), how="left", on=KEYS)
    return replace(frames, epochs=epochs)


def sweep_interval(frames: Frames, name: str) -> Interval | None:
    """Returns a derived quantity of the whole sweep with its standard error. None if it cannot be derived."""
    response, regressors = _TABLE1[name]
    columns = table1(frames).columns
    model = next(each.model for each in columns if (each.response, each.regressors) == (response, regressors))
    if model is None or model.trials < 2:
        return None
    term = model[LAMBDA_MAX]
    spread = term.clustered_error * model.trials**0.5
    return Interval(term.estimate, spread, model.trials, 0.0, term.clustered_error, degrees=model.trials - 1)


def _power_iterations(frames: Frames) -> pd.DataFrame:
    if QUOTIENTS not in frames.samples:
        return pd.DataFrame(columns=[*KEYS, "value"]).astype({"trial_id": "str", "epoch": frames.epochs.epoch.dtype})
    found = frames.samples.loc[frames.samples[QUOTIENTS].notna(), [*KEYS, QUOTIENTS]]
    return found[KEYS].assign(value=[_products_to_convergence(np.asarray(values)) for values in found[QUOTIENTS]])


def _products_to_convergence(quotients: np.ndarray) -> float:
    """The product after which all Rayleigh quotients are within 1% of the last."""
    off = np.flatnonzero(np.abs(quotients - quotients[-1]) > _CONVERGED * abs(quotients[-1]))
    return float(off[-1] + 2) if len(off) else 1.0


def _deviations(frames: Frames) -> pd.DataFrame:
    """The deviation of the trace on the trial's own fraction, which is the smallest."""
    found = fraction_data(frames)
    smallest = found.loc[found.groupby(KEYS).fraction.idxmin()] if len(found) else found
    values = smallest[KEYS].assign(value=smallest.deviation.abs().astype("float64"))
    return values.astype({"trial_id": "str", "epoch": frames.epochs.epoch.dtype})
