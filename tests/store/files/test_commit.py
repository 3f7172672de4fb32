"""The format of a commit, and the detection of damage."""

import json
import math

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.trial import Checkpoint, TrialStore
from orchestrator.study.record import Record
from tests.store.stored import checkpoint, record
from tests.store.trials import DIGEST, commit, every, kept


def test_record_survives_a_commit_bit_for_bit(trial: TrialStore) -> None:
    odd = Record(
        number=0,
        timestamp_ms=5,
        loss_train=math.nan,
        hessian_lambda_max=math.inf,
        hessian_lambda_min=-0.0,
        hessian_trace=0.1 + 0.2,
        algorithm1_trace_samples=(math.nan, -math.inf, 5e-324),
    )
    assert trial.commit(odd, b"", DIGEST, "first")
    assert trial.read(0).record.differences(odd) == {}
    assert trial.read(0).record.timestamp_ms == 5


def test_a_commit_of_an_early_version_is_read(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    for epoch in (0, 1):
        name = f"trials/{trial.trial_id}/epochs/{epoch:05d}.json"
        content = json.loads(files.read(name) or b"")
        assert content.pop("keep") is False
        assert content.pop("claim") == 0
        assert len(content.pop("digest")) == 64
        files.write(name, json.dumps(content).encode())
    assert not trial.read(0).keep
    commit(trial, 2, 3, keep=every(1))
    assert kept(files) == [2, 3]


def test_a_damaged_commit_is_reported(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0)
    path = files.root / "trials" / trial.trial_id / "epochs" / "00000.json"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StorageError) as caught:
        trial.read(0)
    assert str(caught.value) == (
        f"{path} is damaged; run the sweep again: it sets the file aside and recomputes the record, to the same "
        "numbers (expected the unchanged commit of record 0 as JSON)"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b'{"record": 3}', b'{"record": {}, "checkpoint": "00000-a"}'],
)
def test_every_kind_of_damage_is_detected(files: DiskFiles, trial: TrialStore, content: bytes) -> None:
    commit(trial, 0, 1)
    files.write(f"trials/{trial.trial_id}/epochs/00001.json", content)
    files.write(f"trials/{trial.trial_id}/trial.json", content)
    with pytest.raises(DamagedError, match=r"00001.json is damaged"):
        trial.read(1)
    with pytest.raises(DamagedError, match=r"trial.json is damaged.* delete it"):
        trial.config()
    assert trial.latest_checkpoint() == Checkpoint(0, checkpoint(0), DIGEST, damaged=(1,))
    assert [c.record.epoch for c in trial.with_checkpoint(9)] == [0]


def test_a_single_changed_digit_is_detected(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0)
    name = f"trials/{trial.trial_id}/epochs/00000.json"
    content = files.read(name) or b""
    assert b'"loss_train": 0.5' in content
    files.write(name, content.replace(b'"loss_train": 0.5', b'"loss_train": 0.6'))
    with pytest.raises(DamagedError):
        trial.read(0)


def test_commit_with_wrong_epoch_or_path_as_checkpoint_is_damaged(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    folder = f"trials/{trial.trial_id}/epochs"
    content = files.read(f"{folder}/00000.json") or b""
    files.write(f"{folder}/00001.json", content)
    fields = json.loads(content)
    del fields["digest"]
    files.write(f"{folder}/00000.json", json.dumps({**fields, "checkpoint": "../../../secret"}).encode())
    for epoch in (0, 1):
        with pytest.raises(DamagedError):
            trial.read(epoch)


def test_records_are_strict_json_and_early_ones_are_read(files: DiskFiles, trial: TrialStore) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    odd = Record(number=0, timestamp_ms=5, loss_train=math.nan, lanczos_history=(math.inf, -math.inf, 1.0))
    assert trial.commit(odd, b"", DIGEST, "first")
    name = f"trials/{trial.trial_id}/epochs/00000.json"
    fields = json.loads(files.read(name) or b"", parse_constant=refuse)
    assert fields["record"]["loss_train"] == "NaN"
    bare = {**fields, "record": odd.to_json()}
    for key in ("digest", "claim", "previous_ms"):
        del bare[key]
    assert b"NaN," in json.dumps(bare).encode()
    files.write(name, json.dumps(bare).encode())
    assert trial.read(0).record.differences(odd) == {}


def test_a_commit_is_plain_json(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 3)
    content = json.loads(files.read(f"trials/{trial.trial_id}/epochs/00003.json") or b"")
    assert content["record"] == record(3).to_json()
    assert content["checkpoint"] == "00003-1003ms-first"
