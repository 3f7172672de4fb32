"""A sweep as tables: one row an epoch, one row a trial, and the raw samples behind the epochs' numbers.

`read_frames` reads the store; what a tracker has becomes the same tables by way of `assemble`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.store import strict_json
from orchestrator.store.errors import DamagedError
from orchestrator.store.gallery import Gallery
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.provenance.redaction import failure_line
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.store.trial_status import State, trial_status
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import SCALARS, VECTORS, EpochRecord
from orchestrator.study.sweep import Sweep

KEYS = ["trial_id", "epoch"]
FACTS = ["label", "state", "last_epoch", "failure", "commit", "host", "processor", "device", "data_digest"]
"""What `trials` says of a trial beside its config."""


NAMES = "_names"
Sample = tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Frames:
    """All that is known of a sweep's trials. NaN: not measured; nothing is imputed."""

    sweep: Sweep
    provenance: Provenance
    """What ran the sweep last."""
    epochs: pd.DataFrame
    """``trial_id``, ``epoch``, a column for every scalar of `EpochRecord`, and ``<label>/<column>`` for what was
    measured again. Sorted as the trials of the sweep, then by epoch."""
    trials: pd.DataFrame
    """``trial_id``, `FACTS`, and a column for every config field under its dotted name."""
    samples: pd.DataFrame
    """``trial_id``, ``epoch`` and a column for every vector of `EpochRecord`: an array, or None. Values that have names
    of their own, those of parameters, have them in a column of the same name and `NAMES`."""

    gallery: Gallery | None = None
    """Images of the data. The store has them; trackers do not."""

    @property
    def points(self) -> int:
        """How many numbers were measured."""
        return int(self.epochs.drop(columns=KEYS).notna().to_numpy().sum())

    def write(self, folder: Path) -> list[Path]:
        """Writes each table as a Parquet file of its name. Returns the files."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: folder / f"{name}.parquet" for name in ("epochs", "trials", "samples")}
        for name, file in files.items():
            getattr(self, name).to_parquet(file, index=False)
        return list(files.values())


@dataclass(frozen=True)
class TrialFacts:
    """What a store or a tracker knows of one trial."""

    config: TrialConfig
    state: State
    scalars: dict[int, dict[str, float]] = field(default_factory=dict)
    """By epoch, then by column."""
    samples: dict[int, dict[str, Sample]] = field(default_factory=dict)
    """By epoch, then by column."""
    failure: str | None = None
    commit: str | None = None
    host: str | None = None
    processor: str | None = None
    device: str | None = None
    data_digest: str | None = None


def read_frames(storage: Storage, name: str) -> Frames:
    """The tables of a sweep from the store: its committed epochs, up to those the sweep asks for.

    Raises:
        StorageError: where the sweep was never run here.
        DamagedError: where records are damaged; names the first of every trial.
    """
    store = storage.sweep(name)
    sweep, provenance = store.read_manifest()
    holder = store.driver_lease.holder()
    since = holder.since if holder else None
    known, damaged = [], []
    for key, config in sweep.by_id.items():
        try:
            known.append(_stored(storage.trial(key), config, since))
        except DamagedError as error:
            damaged.append(str(error))
    if damaged:
        raise DamagedError("\n  ".join(damaged))
    return replace(assemble(sweep, provenance, known), gallery=store.gallery())


def assemble(sweep: Sweep, provenance: Provenance, known: Sequence[TrialFacts]) -> Frames:
    """The tables, from what is known of the trials, whoever knows it."""
    again = dict.fromkeys(c for facts in known for row in facts.scalars.values() for c in row if "/" in c)
    columns = [quantity.column for quantity in SCALARS] + sorted(again)
    places = {column: place for place, column in enumerate(columns)}
    sizes = [len(facts.scalars) for facts in known]
    values = np.full((sum(sizes), len(columns)), np.nan)
    rows = (row for facts in known for _, row in sorted(facts.scalars.items()))
    for place, row in enumerate(rows):
        for column, value in row.items():
            values[place, places[column]] = value
    ids = np.repeat(np.array([facts.config.trial_id for facts in known], dtype=object), sizes)
    epochs = pd.DataFrame(values, columns=columns)
    epochs.insert(0, "trial_id", pd.Series(ids, dtype="str"))
    epochs.insert(1, "epoch", np.array([e for facts in known for e in sorted(facts.scalars)], dtype=np.int64))
    return Frames(sweep, provenance, epochs, _trials(sweep, known), _samples(known))


def scalar_columns(values: Mapping[str, float], label: str | None = None) -> dict[str, float]:
    """Metrics by key as values by column; those measured again under a label begin with it."""
    prefix = f"{label}/" if label else ""
    return {f"{prefix}{quantity.column}": values[quantity.key] for quantity in SCALARS if quantity.key in values}


def sample_columns(values: Mapping[str, Mapping[str, float] | Iterable[float]]) -> dict[str, Sample]:
    """Vectors by key as values by column; of a mapping the names too."""
    found: dict[str, Sample] = {}
    for quantity in VECTORS:
        given = values.get(quantity.key)
        if isinstance(given, Mapping):
            found[quantity.column] = tuple(given.values())
            found[f"{quantity.column}{NAMES}"] = tuple(given)
        elif given is not None:
            found[quantity.column] = tuple(given)
    return found


def _stored(trial: TrialStore, config: TrialConfig, driver_since: float | None) -> TrialFacts:
    stands = trial_status(trial, config, driver_since)
    attempts = trial.attempts()
    last = attempts[-1] if attempts else None
    commits = [trial.read(epoch) for epoch in trial.epochs() if epoch <= config.epochs]
    records = [commit.record for commit in commits]
    failed = stands.state is State.FAILED and last is not None
    return TrialFacts(
        config,
        stands.state,
        _scalars(trial, records),
        {record.epoch: found for record in records if (found := sample_columns(record.vectors()))},
        failure=failure_line(last.reason) if failed and last else None,
        commit=last.provenance.commit if last else None,
        host=last.provenance.host if last else None,
        processor=last.provenance.processor if last else None,
        device=last.environment.get("device") if last else None,
        data_digest=commits[-1].data_digest if commits else None,
    )


def _scalars(trial: TrialStore, records: list[EpochRecord]) -> dict[int, dict[str, float]]:
    found = {record.epoch: scalar_columns(record.metrics()) for record in records}
    for label in trial.remeasurements.labels():
        for record in trial.remeasurements.records(label, max(found, default=-1)):
            found[record.epoch] |= scalar_columns(record.metrics(), label)
    return found


def _trials(sweep: Sweep, known: Sequence[TrialFacts]) -> pd.DataFrame:
    flat = [facts.config.flat() for facts in known]
    rows: dict[str, list[Any]] = {"trial_id": [facts.config.trial_id for facts in known]}
    for name in FACTS:
        rows[name] = [getattr(facts, name, None) for facts in known]
    rows["label"] = [sweep.label(facts.config) for facts in known]
    rows["state"] = [facts.state.value for facts in known]
    rows["last_epoch"] = [max(facts.scalars, default=-1) for facts in known]
    fields = dict.fromkeys(key for row in flat for key in row)
    rows |= {key: _one_type([row.get(key) for row in flat]) for key in fields}
    return pd.DataFrame({name: _column(values) for name, values in rows.items()})


def _one_type(values: list[Any]) -> list[Any]:
    """Numbers where all are; else texts: a Parquet column holds one type."""
    told = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in told):
        return values
    if all(isinstance(value, Real) and not isinstance(value, bool) for value in told):
        return values
    return [None if value is None else value if isinstance(value, str) else _text(value) for value in values]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _column(values: list[Any]) -> "pd.Series[Any]":
    told = [value for value in values if value is not None]
    if told and all(isinstance(value, bool) for value in told):
        return pd.Series(values, dtype="boolean")
    if told and all(isinstance(value, int) for value in told):
        return pd.Series(values, dtype="Int64" if len(told) < len(values) else "int64")
    if told and not any(isinstance(value, str) for value in told):
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="str")


def _samples(known: Sequence[TrialFacts]) -> pd.DataFrame:
    columns = [quantity.column for quantity in VECTORS]
    columns += sorted({c for facts in known for row in facts.samples.values() for c in row if c.endswith(NAMES)})
    rows = [
        [facts.config.trial_id, epoch, *(list(row[c]) if c in row else None for c in columns)]
        for facts in known
        for epoch, row in sorted(facts.samples.items())
    ]
    frame = pd.DataFrame(rows, columns=[*KEYS, *columns])
    return frame.astype({"trial_id": "str", "epoch": "int64"})


def parsed_samples(content: str) -> dict[int, dict[str, Sample]]:
    """The vectors in the artifact curvature.json of a run, by epoch and column."""
    rows: list[dict[str, Any]] = strict_json.restore_numbers(json.loads(content))
    found = {int(row["epoch"]): sample_columns(row) for row in rows}
    return {epoch: row for epoch, row in found.items() if row}
