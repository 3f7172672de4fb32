"""Compares store and tracker after a storm with those of an undisturbed twin."""

import math
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.store.errors import DamagedError
from orchestrator.store.storage import Storage
from orchestrator.study.record import Record
from orchestrator.study.sweep import Sweep


@dataclass
class Damage:
    """The damage of a storm, one line each. Empty if all guarantees hold."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    left_running: list[str] = field(default_factory=list)
    epochs: int = 0
    """Number of epochs compared in the store."""
    points: int = 0
    """Number of points compared in the tracker."""

    @property
    def lines(self) -> list[str]:
        """All lines of damage."""
        return [*self.lost, *self.doubled, *self.different, *self.left_running]

    @property
    def counts(self) -> dict[str, int]:
        """Number of lines by kind."""
        kinds = ("lost", "doubled", "different", "left_running")
        return {kind: len(getattr(self, kind)) for kind in kinds}


def compare(sweep: Sweep, storage: Storage, twin: Storage, database: Path) -> Damage:
    """Compares everything except times, bit for bit."""
    damage = Damage()
    records = {trial_id: _compare_trial(trial_id, storage, twin, damage) for trial_id in sweep.by_id}
    with sqlite3.connect(database) as tracker:
        _compare_runs(records, tracker, damage)
    return damage


def _compare_trial(trial_id: str, storage: Storage, twin: Storage, damage: Damage) -> list[Record]:
    ours, theirs = storage.trial(trial_id), twin.trial(trial_id)
    have, expected = ours.numbers(), theirs.numbers()
    damage.lost += [f"store: epoch {epoch} of {trial_id}" for epoch in expected if epoch not in have]
    damage.doubled += [
        f"store: epoch {epoch} of {trial_id} beyond the twin's" for epoch in have if epoch not in expected
    ]
    records = []
    for epoch in (epoch for epoch in have if epoch in expected):
        try:
            mine, other = ours.read(epoch), theirs.read(epoch)
        except DamagedError:
            damage.lost.append(f"store: epoch {epoch} of {trial_id} is damaged")
            continue
        records.append(mine.record)
        damage.epochs += 1
        if keys := mine.record.differences(other.record):
            damage.different.append(f"store: epoch {epoch} of {trial_id}: {', '.join(keys)}")
        elif mine.checkpoint_digest != other.checkpoint_digest:
            damage.different.append(f"store: the state after epoch {epoch} of {trial_id}")
    return records


def _compare_runs(records: dict[str, list[Record]], tracker: sqlite3.Connection, damage: Damage) -> None:
    active = "select run_uuid from runs where lifecycle_stage = 'active'"
    runs: dict[str, list[str]] = {}
    for trial_id, run in tracker.execute(
        f"select value, run_uuid from tags where key = 'trial_id' and run_uuid in ({active})"
    ):
        runs.setdefault(trial_id, []).append(run)
    damage.lost += [f"tracker: the run of {trial_id}" for trial_id in records if trial_id not in runs]
    damage.doubled += [
        f"tracker: {len(found)} runs of {trial_id}" for trial_id, found in runs.items() if len(found) > 1
    ]
    for trial_id, found in runs.items():
        _compare_points(trial_id, records.get(trial_id, []), found[0], tracker, damage)
    for name, status in tracker.execute(
        "select name, status from runs where lifecycle_stage = 'active' and status != 'FINISHED'"
    ):
        damage.left_running.append(f"tracker: {name} is {status}")
    ended = "select count(*) from tags where key = 'outcome' and value in ('completed', 'diverged')"
    ((outcomes,),) = tracker.execute(f"{ended} and run_uuid in ({active})")
    if outcomes != len(records) + 1:
        damage.left_running.append(f"tracker: {outcomes} outcomes of {len(records)} trials and the sweep")


def _compare_points(
    trial_id: str, records: list[Record], run: str, tracker: sqlite3.Connection, damage: Damage
) -> None:
    stored = {
        (key, record.epoch): (value, record.timestamp_ms)
        for record in records
        for key, value in record.metrics().items()
    }
    rows = tracker.execute(
        "select key, step, value, timestamp, is_nan from metrics where run_uuid = ?", (run,)
    ).fetchall()
    counts = Counter((key, step) for key, step, *_ in rows)
    damage.points += len(counts)
    damage.lost += [
        f"tracker: {key} of epoch {step} of {trial_id}" for key, step in stored if (key, step) not in counts
    ]
    for (key, step), count in counts.items():
        if count > 1 or (key, step) not in stored:
            damage.doubled.append(f"tracker: {key} of epoch {step} of {trial_id}: {count} points")
    for key, step, value, timestamp, is_nan in rows:
        if (key, step) in stored and not _same(*stored[key, step], math.nan if is_nan else value, timestamp):
            damage.different.append(f"tracker: {key} of epoch {step} of {trial_id}")


def _same(stored: float, stored_ms: int, tracked: float, tracked_ms: int) -> bool:
    finite = stored if math.isfinite(stored) else math.nan  # as uploaded to the tracker
    return repr(float(finite)) == repr(float(tracked)) and stored_ms == tracked_ms
