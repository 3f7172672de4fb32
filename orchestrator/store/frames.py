"""The tables of a sweep: one row per record, one row per trial, and the raw samples of the estimators.

`read_frames` reads the tables from the store. `assemble` builds them from the facts in a store or a tracker.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from orchestrator.counted import counted
from orchestrator.store.errors import DamagedError
from orchestrator.store.files import strict_json
from orchestrator.store.gallery import Gallery
from orchestrator.store.missing_quantities import missing_quantities
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.provenance.redaction import failure_line
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.store.trial_status import State, trial_status
from orchestrator.study.config import TrialConfig
from orchestrator.study.quantities.quantity import column_of
from orchestrator.study.record import SCALARS, VECTORS, Record
from orchestrator.study.sweep import Sweep

KEYS = ["trial_id", "epoch"]
STEP = "step"
FACTS = [
    "label",
    "state",
    "last_epoch",
    "failure",
    "missing_quantities",
    "commit",
    "host",
    "processor",
    "device",
    "data_digest",
]
"""The columns of `trials` that are not fields of the config."""
NAMES = "_names"
"""The suffix of the column that contains the names of a vector's values."""

Sample = tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Frames:
    """The tables of a sweep. NaN means not measured; missing values are never imputed."""

    sweep: Sweep
    provenance: Provenance
    """The provenance of the sweep's last run."""
    epochs: pd.DataFrame
    """One row per record: ``trial_id``, ``epoch``, ``step``, one column per scalar field of `Record`, one per other
    measured key, and ``<label>/<column>`` for remeasured values. The rows are in the order of the trials in the sweep,
    then by epoch. ``epoch`` contains fractions if records fall inside epochs. ``step`` counts optimizer steps; it is
    missing for records of version 0.1."""
    trials: pd.DataFrame
    """One row per trial: ``trial_id``, `FACTS`, and one column per config field, with its dotted name."""
    samples: pd.DataFrame
    """One row per record with samples: ``trial_id``, ``epoch``, one column per vector field of `Record`, and one per
    other measured vector. Each contains an array or None. If the values of a vector have names, the column
    ``<column>_names`` contains them."""
    gallery: Gallery | None = None
    """Images of the data; None if the tables were read from a tracker."""

    def __repr__(self) -> str:
        """Returns the name of the sweep and the sizes of the tables."""
        trials, records = counted(len(self.trials), "trial"), counted(len(self.epochs), "record")
        return f"frames of sweep {self.sweep.name}: {trials}, {records}, {counted(self.points, 'value')}"

    @property
    def points(self) -> int:
        """The number of measured values."""
        return int(self.epochs.drop(columns=[*KEYS, STEP]).notna().to_numpy().sum())


@dataclass(frozen=True)
class TrialFacts:
    """The data of one trial from which the tables are built, read from a store or a tracker."""

    config: TrialConfig
    state: State
    scalars: dict[int, dict[str, float]] = field(default_factory=dict)
    """Maps numbers of records to mappings from columns to values."""
    samples: dict[int, dict[str, Sample]] = field(default_factory=dict)
    """Maps numbers of records to mappings from columns to vectors."""
    steps_per_epoch: int | None = None
    """Optimizer steps of an epoch; None if no record determines it."""
    failure: str | None = None
    missing_quantities: str | None = None
    """The user's own quantities that raised; see `missing_quantities`."""
    commit: str | None = None
    host: str | None = None
    processor: str | None = None
    device: str | None = None
    data_digest: str | None = None


def read_frames(storage: Storage, name: str) -> Frames:
    """Reads the tables of a sweep from the store. They contain the committed records that the sweep requests.

    Raises:
        StorageError: the sweep was never run with this storage.
        DamagedError: commits are damaged; the message names the first damaged file of every trial.
    """
    store = storage.sweep(name)
    sweep, provenance = store.read_manifest()
    holder = store.driver_lease.holder()
    since = holder.since if holder else None
    known, damaged = [], []
    for key, config in sweep.by_id.items():
        try:
            known.append(_stored_facts(storage.trial(key), config, since))
        except DamagedError as error:
            damaged.append(str(error))
    if damaged:
        raise DamagedError("\n  ".join(damaged))
    return replace(assemble(sweep, provenance, known), gallery=store.gallery())


def assemble(sweep: Sweep, provenance: Provenance, known: Sequence[TrialFacts]) -> Frames:
    """Builds the tables from the facts of the trials, from a store or a tracker."""
    measured = {column for facts in known for row in facts.scalars.values() for column in row}
    columns = _with_others([quantity.column for quantity in SCALARS], measured)
    rows = [
        (facts.config.trial_id, *_moment(facts, number), *(row.get(column, math.nan) for column in columns))
        for facts in known
        for number, row in sorted(facts.scalars.items())
    ]
    types = {"trial_id": "str", "epoch": _epoch_type(known), STEP: "Int64", **dict.fromkeys(columns, "float64")}
    epochs = pd.DataFrame(rows, columns=[*KEYS, STEP, *columns]).astype(types)
    return Frames(sweep, provenance, epochs, _trials(sweep, known), _samples(known))


def _with_others(columns: list[str], found: set[str]) -> list[str]:
    """Returns these columns, then the others that were found: those of records before those of remeasurements."""
    return columns + sorted(found.difference(columns), key=lambda column: ("/" in column, column))


def _moment(facts: TrialFacts, number: int) -> tuple[float, int | None]:
    """Returns the epochs and the optimizer steps before a record."""
    cadence, steps = facts.config.cadence, facts.steps_per_epoch
    if number == 0:
        return 0, 0
    if steps is None:
        return cadence.position(number), None
    return cadence.epoch(number, steps), cadence.step(number, steps)


def _epoch_type(known: Sequence[TrialFacts]) -> str:
    return "float64" if any(facts.config.cadence.in_steps for facts in known) else "int64"


def scalar_columns(values: Mapping[str, float], label: str | None = None) -> dict[str, float]:
    """Renames metrics from keys to columns. Columns of remeasured values get the prefix ``<label>/``."""
    prefix = f"{label}/" if label else ""
    return {f"{prefix}{column_of(key)}": value for key, value in values.items()}


def sample_columns(values: Mapping[str, Mapping[str, float] | Iterable[float]]) -> dict[str, Sample]:
    """Renames vectors from keys to columns. A mapping becomes two columns, its values and their names."""
    found: dict[str, Sample] = {}
    for key, given in values.items():
        column = column_of(key)
        if isinstance(given, Mapping):
            found[column] = tuple(given.values())
            found[f"{column}{NAMES}"] = tuple(given)
        else:
            found[column] = tuple(given)
    return found


def parsed_samples(content: str) -> dict[int, dict[str, Sample]]:
    """Parses the artifact curvature.json of a run. Returns a mapping from record numbers to vectors by column."""
    rows: list[dict[str, Any]] = strict_json.restore_numbers(json.loads(content))
    found = {}
    for row in rows:
        epoch = row.pop("epoch")
        number = int(row.pop("number", epoch))  # version 0.1 had no number
        found[number] = sample_columns(row)
    return {number: row for number, row in found.items() if row}


def _stored_facts(trial: TrialStore, config: TrialConfig, driver_since: float | None) -> TrialFacts:
    state = trial_status(trial, config, driver_since).state
    last = next(reversed(trial.attempts()), None)
    commits = [trial.read(number) for number in trial.numbers() if number <= config.records]
    records = [commit.record for commit in commits]
    return TrialFacts(
        config,
        state,
        _scalars(trial, records),
        {record.number: found for record in records if (found := sample_columns(record.vectors()))},
        next((steps for record in records if (steps := record.steps_per_epoch)), None),
        failure=failure_line(last.reason) if state is State.FAILED and last else None,
        missing_quantities=missing_quantities(records),
        commit=last.provenance.commit if last else None,
        host=last.provenance.host if last else None,
        processor=last.provenance.processor if last else None,
        device=last.environment.get("device") if last else None,
        data_digest=commits[-1].data_digest if commits else None,
    )


def _scalars(trial: TrialStore, records: list[Record]) -> dict[int, dict[str, float]]:
    found = {record.number: scalar_columns(record.metrics()) for record in records}
    for label in trial.remeasurements.labels():
        for record in trial.remeasurements.records(label, max(found, default=-1)):
            found[record.number] |= scalar_columns(record.metrics(), label)
    return found


def _trials(sweep: Sweep, known: Sequence[TrialFacts]) -> pd.DataFrame:
    rows: dict[str, list[Any]] = {"trial_id": [facts.config.trial_id for facts in known]}
    for name in FACTS:
        rows[name] = [getattr(facts, name, None) for facts in known]
    rows["label"] = [sweep.label(facts.config) for facts in known]
    rows["state"] = [facts.state.value for facts in known]
    rows["last_epoch"] = [_moment(facts, max(facts.scalars))[0] if facts.scalars else -1 for facts in known]
    flat = [facts.config.flat() for facts in known]
    rows |= {key: [row.get(key) for row in flat] for key in dict.fromkeys(key for row in flat for key in row)}
    return pd.DataFrame({name: _column(values) for name, values in rows.items()})


def _column(values: list[Any]) -> "pd.Series[Any]":
    """Returns a column of a single type, which Parquet requires. Values other than bools and numbers become text."""
    present = [value for value in values if value is not None]
    types = set(map(type, present))
    if types == {bool}:
        return pd.Series(values, dtype="boolean")
    if types == {int}:
        return pd.Series(values, dtype="Int64" if len(present) < len(values) else "int64")
    if types and types <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series([None if value is None else _text(value) for value in values], dtype="str")


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _samples(known: Sequence[TrialFacts]) -> pd.DataFrame:
    found = {column for facts in known for row in facts.samples.values() for column in row}
    columns = _with_others([quantity.column for quantity in VECTORS], found)
    rows = [
        [facts.config.trial_id, _moment(facts, number)[0], *(list(row[c]) if c in row else None for c in columns)]
        for facts in known
        for number, row in sorted(facts.samples.items())
    ]
    return pd.DataFrame(rows, columns=[*KEYS, *columns]).astype({"trial_id": "str", "epoch": _epoch_type(known)})
