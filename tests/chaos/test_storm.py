"""A short storm (`make chaos` runs the long ones), and a check that the comparison finds every kind of damage."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.sweeps.fake_trial import FakeTrial, provenance
from orchestrator.store.files.commit import Commit
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep
from orchestrator.tracking.shipper import ship
from tests.chaos.comparison import compare
from tests.chaos.faults import planned
from tests.chaos.place import content
from tests.chaos.storm import run_storm, table


@pytest.mark.slow
def test_a_short_storm_causes_no_damage(tmp_path: Path) -> None:
    lines: list[str] = []
    storm = run_storm(
        tmp_path, "fake", "local", seed=5, faults=10, trials=60, epochs=6, epoch_seconds=0.2, say=lines.append
    )
    said = "\n".join([*lines, table([storm])])
    assert storm.damage.lines == [], said
    assert storm.hangs == 0, said
    assert len(storm.struck) >= 7, said
    assert storm.damage.epochs == 60 * 7, said


def test_the_seed_determines_the_faults() -> None:
    assert planned(3, 50, "ray", disk=True) == planned(3, 50, "ray", disk=True)
    assert planned(3, 50, "ray", disk=True) != planned(4, 50, "ray", disk=True)
    kinds = {(fault.kind, fault.target) for fault in planned(3, 50, "ray", disk=True)}
    assert len(kinds) == 15
    assert {target for _, target in kinds} == {
        "driver", "worker", "raylet", "shipper", "server", "checkpoint", "epoch", "tracker", "disk",
    }  # fmt: skip
    assert "disk" not in {fault.target for fault in planned(3, 50, "ray", disk=False)}


def test_comparison_finds_lost_duplicate_different_and_unfinished_results(tmp_path: Path, uri: str) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content("fake", trials=4, epochs=2)))
    sweep = load_sweep(str(tmp_path / "sweep.yaml"))
    ours, twin = Storage(tmp_path / "ours"), Storage(tmp_path / "twin")
    for storage in (ours, twin):
        storage.sweep(sweep.name).write_manifest(sweep, provenance())
        for trial_id in sweep.by_id:
            FakeTrial(str(storage.root), sweep.name).run(trial_id)
    database = tmp_path / "mlflow.db"
    assert ship(ours, sweep.name, uri).complete
    assert compare(sweep, ours, twin, database).lines == []
    lost, changed, doubled, left = sweep.by_id
    epoch = ours.root / "trials" / changed / "epochs" / "00001.json"
    commit = Commit.from_bytes(epoch.read_bytes(), 1)
    epoch.write_bytes(replace(commit, record=replace(commit.record, loss_train=17.0)).to_bytes())
    spoilt = ours.root / "trials" / lost / "epochs" / "00001.json"
    spoilt.write_bytes(spoilt.read_bytes()[:100])
    (ours.root / "trials" / lost / "epochs" / "00002.json").unlink()
    with sqlite3.connect(database) as tracker:
        runs = dict(tracker.execute("select value, run_uuid from tags where key = 'trial_id'").fetchall())
        tracker.execute(
            "insert into metrics select key, value, timestamp + 1, run_uuid, step, is_nan from metrics "
            "where run_uuid = ? and step = 1 and key = 'loss/train'",
            (runs[doubled],),
        )
        tracker.execute("update runs set status = 'RUNNING' where run_uuid = ?", (runs[left],))
        tracker.execute("delete from metrics where run_uuid = ? and step = 0", (runs[left],))
    damage = compare(sweep, ours, twin, database)
    assert f"store: epoch 2 of {lost}" in damage.lost
    assert f"store: epoch 1 of {lost} is damaged" in damage.lost
    assert f"tracker: loss/train of epoch 0 of {left}" in damage.lost
    assert f"tracker: loss/train of epoch 1 of {doubled}: 2 points" in damage.doubled
    assert f"store: epoch 1 of {changed}: loss/train" in damage.different
    assert f"tracker: loss/train of epoch 1 of {changed}" in damage.different
    assert len(damage.left_running) == 1
    assert damage.left_running[0].endswith("is RUNNING")
