"""A store written by an earlier version can still be read, and the format of the files has not changed.

Configs may have gained fields, which are written with their defaults.

``fixtures/earlier`` was written by commit 419d696. Its checkpoints and one of its three trials were removed.
``fixtures/earlier_frames.json`` contains the tables that this commit read from it.
"""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.store.attempt import Attempt
from orchestrator.store.files.commit import Commit
from orchestrator.store.frames import read_frames
from orchestrator.store.ownership.claims import Claim, Owner
from orchestrator.store.provenance import attachments
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import trial_status

FIXTURES = Path(__file__).parent / "fixtures"
EARLIER = FIXTURES / "earlier"
EXPECTED = json.loads((FIXTURES / "earlier_frames.json").read_text())
TRIALS = ("30ab2c1fa288", "aa712b6d31b1")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(shutil.copytree(EARLIER, tmp_path / "storage"))


def test_trials_keep_their_ids_labels_and_status(storage: Storage) -> None:
    sweep, _ = storage.sweep("bits").read_manifest()
    assert [sweep.label(trial) for trial in sweep.trials] == EXPECTED["labels"]
    statuses = {key: trial_status(storage.trial(key), config) for key, config in sweep.by_id.items()}
    assert {
        key: [status.state, status.number, status.missing_records, status.ended_ms] for key, status in statuses.items()
    } == EXPECTED["statuses"]


def test_tables_contain_the_same_values_in_the_same_columns(storage: Storage) -> None:
    frames = read_frames(storage, "bits")
    assert frames.points == EXPECTED["points"]
    for name in ("epochs", "trials", "samples"):
        table = getattr(frames, name)
        known = table[EXPECTED[name]["columns"]]
        assert [str(dtype) for dtype in known.dtypes] == EXPECTED["dtypes"][name]
        assert json.loads(known.to_json(orient="split", double_precision=15)) == EXPECTED[name]


@pytest.mark.parametrize("trial_id", TRIALS)
def test_commits_attempts_and_configs_are_written_as_before(storage: Storage, trial_id: str) -> None:
    folder = EARLIER / "trials" / trial_id
    for path in sorted((folder / "epochs").iterdir()):
        content = path.read_bytes()
        assert Commit.from_bytes(content, int(path.stem)).to_bytes() == content
    for path in (folder / "attempts").iterdir():
        content = path.read_bytes()
        assert Attempt.from_bytes(content).to_bytes() == content
    trial = storage.trial(trial_id)
    config = trial.config()
    assert config is not None
    trial.write_config(config)
    assert contains(storage.files.read(f"trials/{trial_id}/trial.json"), (folder / "trial.json").read_bytes())


def test_the_manifest_and_the_gallery_are_written_as_before(storage: Storage) -> None:
    sweep = storage.sweep("bits")
    sweep.write_manifest(*sweep.read_manifest())
    gallery = sweep.gallery()
    assert gallery is not None
    sweep.write_gallery(gallery)
    assert contains(
        storage.files.read("sweeps/bits/manifest.json"), (EARLIER / "sweeps/bits/manifest.json").read_bytes()
    )
    assert storage.files.read("sweeps/bits/gallery.json") == (EARLIER / "sweeps/bits/gallery.json").read_bytes()


def contains(now: bytes | None, before: bytes) -> bool:
    """Returns whether a JSON file has every value of the earlier one."""
    assert now is not None
    return _contains(json.loads(now), json.loads(before))


def _contains(now: object, before: object) -> bool:
    if isinstance(now, dict) and isinstance(before, dict):
        return all(key in now and _contains(now[key], value) for key, value in before.items())
    return now == before


def test_leases_claims_shipper_status_and_attachments_are_read(storage: Storage) -> None:
    sweep, trial = storage.sweep("bits"), storage.trial(TRIALS[0])
    assert sweep.driver_lease.holder() is None, "it was released"
    assert sweep.driver_lease.newest_number() == 1
    claim = trial.claims.newest()
    assert isinstance(claim, Claim)
    assert (claim.number, claim.owner, claim.attempt) == (1, Owner("bits", 1), trial.attempts()[0].name)
    status = sweep.shipper_status()
    assert status is not None
    assert (status.state, status.pending_records) == ("done", 0)
    provenance = storage.trial(TRIALS[1]).attempts()[0].provenance
    code = attachments.read(storage.files, attachments.OWN_CODE, provenance.own_code["nets"])
    assert code is not None
    assert "class Gelu(nn.Module)" in code


def test_missing_checkpoints_are_not_an_error(storage: Storage) -> None:
    """The fixture contains no checkpoints."""
    trial = storage.trial(TRIALS[0])
    assert trial.latest_checkpoint() is None
    assert trial.with_checkpoint(last=3) == []
    assert trial.read_checkpoint(trial.read(3)) is None
