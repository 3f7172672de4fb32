"""Stored configs from before a default changed keep their ids and settings."""

import json
from dataclasses import replace
from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.files.remeasurements import Remeasurement
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.study.sweep import Resources, Sweep
from tests.store.stored import remeasured
from tests.study.configs import config

QUANTITY = "spectral_density"
FIRST = {"name": QUANTITY, "every": 1, "probes": 2, "steps": 40, "outliers": "own run"}
TRIAL = config(measurement={"estimators": [FIRST]})


def test_trials_and_manifests(files: DiskFiles, tmp_path: Path) -> None:
    trial = TrialStore(files, TRIAL.trial_id)
    trial.write_config(TRIAL)
    Storage(tmp_path).sweep("old").write_manifest(Sweep("old", "", (TRIAL,), Resources(), "last"), capture())
    for path in [*tmp_path.rglob("trial.json"), *tmp_path.rglob("manifest.json")]:
        path.write_text(_as_before(path.read_text()))
    assert trial.config() == TRIAL
    assert Storage(tmp_path).sweep("old").read_manifest()[0].by_id == {TRIAL.trial_id: TRIAL}


def test_remeasurements() -> None:
    before = replace(remeasured(5), measurement=TRIAL.measurement)
    content = _as_before(before.to_bytes().decode())
    assert Remeasurement.from_bytes(content.encode()) == before


def _as_before(text: str) -> str:
    """The text with the name of the quantity in place of its settings."""
    content = json.loads(text)

    def shortened(part: object) -> object:
        if isinstance(part, dict):
            return QUANTITY if part == FIRST else {key: shortened(value) for key, value in part.items()}
        return [shortened(each) for each in part] if isinstance(part, list) else part

    after = shortened(content)
    assert after != content
    return json.dumps(after)
