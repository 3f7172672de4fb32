"""An epoch is committed atomically, and a trial resumes from its newest intact checkpoint."""

from pathlib import Path

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.ownership.claims import BY_HAND
from orchestrator.store.trial import Checkpoint, TrialStore
from tests.store.stored import attempt, checkpoint, config, files_in, python, record
from tests.store.trials import DIGEST, checkpoints, commit, kept


def test_an_unknown_trial_is_empty(files: DiskFiles, trial: TrialStore) -> None:
    assert trial.config() is None
    assert trial.numbers() == []
    assert list(trial.records()) == []
    assert trial.attempts() == []
    assert trial.latest_checkpoint() is None
    assert files_in(files.root) == []


def test_a_config_is_read_as_written(trial: TrialStore) -> None:
    trial.write_config(config())
    assert trial.config() == config()
    trial.write_config(config(epochs=20))
    assert trial.config() == config(epochs=20)


def test_config_with_another_trial_id_is_rejected(trial: TrialStore) -> None:
    with pytest.raises(AssertionError):
        trial.write_config(config(seed=1))
    assert trial.config() is None


def test_a_committed_epoch_is_read_as_written(trial: TrialStore) -> None:
    commit(trial, 0)
    stored = trial.read(0)
    assert (stored.record, stored.data_digest, stored.attempt) == (record(0), DIGEST, "first")
    assert trial.latest_checkpoint() == Checkpoint(0, checkpoint(0), DIGEST)


def test_epochs_and_records_are_in_order(trial: TrialStore) -> None:
    commit(trial, 2, 10, 0, 1, 99_999, 100_000)
    assert trial.numbers() == [0, 1, 2, 10, 99_999, 100_000]
    assert list(trial.records(after=1)) == [record(epoch) for epoch in (2, 10, 99_999, 100_000)]
    assert len(list(trial.records())) == 6


@pytest.mark.parametrize("by", ["first", "second"])
def test_the_first_commit_of_an_epoch_is_kept(trial: TrialStore, by: str) -> None:
    commit(trial, 0, 1)
    assert not trial.commit(record(1, loss=9.0), b"another state", "other data", by)
    assert trial.read(1).record == record(1)
    assert trial.read(1).attempt == "first"
    assert trial.latest_checkpoint() == Checkpoint(1, checkpoint(1), DIGEST)


def test_a_refused_commit_leaves_no_checkpoint(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    before = files_in(files.root)
    assert not trial.commit(record(1), b"another state", DIGEST, "second")
    assert files_in(files.root) == before


def test_a_writer_overtaken_before_its_commit_deletes_its_checkpoint(files: DiskFiles, trial: TrialStore) -> None:
    class Late(DiskFiles):
        def create(self, name: str, content: bytes) -> bool:
            commit(trial, 0, by="other")
            files.write(
                f"trials/{trial.trial_id}/checkpoints/00000-1000ms-late", checkpoint(0)
            )  # only the late writer deletes it
            return super().create(name, content)

    late = TrialStore(Late(files.root), trial.trial_id)
    assert not late.commit(record(0, loss=9.0), b"another state", DIGEST, "late")
    assert trial.read(0).record == record(0)
    assert trial.latest_checkpoint() == Checkpoint(0, checkpoint(0), DIGEST)
    assert checkpoints(files) == ["00000-1000ms-other"]


def test_one_of_eight_concurrent_commits_wins(files: DiskFiles, trial: TrialStore) -> None:
    code = """
        trial = TrialStore(DiskFiles(stored.Path(sys.argv[1])), stored.config().trial_id)
        for epoch in range(5):
            def work(number):
                return trial.commit(stored.record(epoch, loss=number), b"%d" % number * 1000, "d", f"by-{number}")
            codes = each(8, work)
            assert sorted(codes) == [0] * 7 + [1], codes
            winner, latest = codes.index(1), trial.latest_checkpoint()
            assert trial.read(epoch).record.loss_train == winner
            assert (latest.number, latest.content, latest.damaged) == (epoch, b"%d" % winner * 1000, ())
    """
    python(code, files.root)
    assert trial.numbers() == [0, 1, 2, 3, 4]
    assert [name[:5] for name in checkpoints(files)] == ["00003", "00004"]


def test_recomputed_epochs_keep_the_end_time_of_the_damaged_ones(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, *range(4))
    path = files.root / "trials" / trial.trial_id / "epochs"
    path.joinpath("00001.json").write_bytes(path.joinpath("00001.json").read_bytes()[:-30])
    path.joinpath("00002.json").write_bytes(b"")
    assert trial.set_aside_damaged() == [1, 2]
    assert trial.numbers() == [0, 3]
    assert trial.damaged_timestamps() == {1: 1001, 2: 1002}
    commit(trial, 1, 2, by="second")
    assert list(trial.records()) == [record(epoch) for epoch in range(4)]
    assert trial.damaged_timestamps() == {}
    assert trial.set_aside_damaged() == []
    assert trial.latest_checkpoint() == Checkpoint(3, checkpoint(3), DIGEST)
    assert trial.latest_checkpoint(below=3) is not None


@pytest.mark.parametrize("last", [False, True], ids=["inside", "last"])
@pytest.mark.parametrize("damaged", [b"", b'{"record": {"epoch": 2, "timestamp_ms": 9002,'], ids=["gone", "other"])
def test_the_time_of_a_damaged_epoch_is_recovered_from_other_files(
    files: DiskFiles, trial: TrialStore, damaged: bytes, last: bool
) -> None:
    commit(trial, *range(3))
    if not last:  # commit more epochs, until the checkpoint of record 2 is deleted
        commit(TrialStore(files, trial.trial_id), *range(3, 6), by="second")
        assert kept(files) == [4, 5]
    files.write(f"trials/{trial.trial_id}/epochs/00002.json", damaged)
    assert trial.set_aside_damaged() == [2]
    assert trial.damaged_timestamps() == {2: 1002}


def test_the_damaged_file_is_the_last_source_of_its_end_time(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, *range(3))
    path = files.root / "trials" / trial.trial_id / "epochs" / "00002.json"
    path.write_bytes(path.read_bytes()[:-30])
    files.write(
        f"trials/{trial.trial_id}/checkpoints/00002-77ms-crashed", b"of a writer that was killed before its commit"
    )
    assert trial.set_aside_damaged() == [2]
    assert trial.damaged_timestamps() == {2: 1002}
    files.write(f"trials/{trial.trial_id}/damaged/00002.json", b"")
    assert trial.damaged_timestamps() == {}


def test_the_start_of_an_attempt_is_not_used_as_the_end_of_an_epoch(files: DiskFiles, trial: TrialStore) -> None:
    """Checkpoint names of early versions contain the start time of the attempt instead of the end time of the epoch."""
    commit(trial, *range(3))
    folder, path = f"trials/{trial.trial_id}", files.root / "trials" / trial.trial_id / "epochs" / "00002.json"
    files.delete(f"{folder}/checkpoints/00002-1002ms-first")
    files.write(f"{folder}/checkpoints/00002-1795565298745-80de1f", checkpoint(2))
    path.write_bytes(path.read_bytes()[:-30])
    assert trial.set_aside_damaged() == [2]
    assert trial.damaged_timestamps() == {2: 1002}


def test_other_files_are_ignored(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    for name in ("epochs/00001.json.bak", "epochs/notes.txt", "checkpoints/readme", "attempts/x.json"):
        files.write(f"trials/{trial.trial_id}/{name}", b"notes")
    assert trial.numbers() == [0, 1]
    assert trial.attempts() == []
    commit(trial, 2)
    assert trial.latest_checkpoint() == Checkpoint(2, checkpoint(2), DIGEST)


def test_the_owner_of_a_trial_lists_its_commits_once(
    files: DiskFiles, trial: TrialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(trial, 0, 1)
    trial.claim(BY_HAND, "again")
    listed: list[str] = []
    monkeypatch.setattr(files, "list", lambda folder, original=files.list: listed.append(folder) or original(folder))
    commit(trial, 2, 3, 4)
    assert [folder.endswith("/epochs") for folder in listed].count(True) == 1
    assert not trial.commit(record(3), b"other", "d", "again")
    trial.claim(BY_HAND, "third")
    commit(trial, 5)
    assert trial.numbers() == list(range(6))


# --- crashes ---


def test_a_commit_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    """Each process dies one file operation later than the previous one, until a process finishes."""
    code = """
        existed = set()
        for step in range(100):
            files = DiskFiles(stored.Path(sys.argv[1]) / str(step))
            trial = TrialStore(files, stored.config().trial_id)
            for epoch in range(3):
                assert trial.commit(stored.record(epoch), stored.checkpoint(epoch), "d", "before", epoch == 0)

            def work(number):
                die_at(step)
                TrialStore(files, trial.trial_id).commit(stored.record(3), stored.checkpoint(3), "d", "dying", True)

            (code,) = each(1, work)
            exists = trial.numbers() == [0, 1, 2, 3]
            assert exists or trial.numbers() == [0, 1, 2], (step, trial.numbers())
            existed.add(exists)
            latest = trial.latest_checkpoint()
            last = 3 if exists else 2
            assert (latest.number, latest.content, latest.damaged) == (last, stored.checkpoint(last), ()), step
            assert trial.read(last).record == stored.record(last)
            for epoch in range(last + 1, 6):
                assert trial.commit(stored.record(epoch), stored.checkpoint(epoch), "d", "after"), step
                assert trial.latest_checkpoint().content == stored.checkpoint(epoch)
                assert not trial.latest_checkpoint().damaged
            kept = files.list(f"trials/{trial.trial_id}/checkpoints")
            third = ["00003-1003ms-dying"] if exists else []  # stays only if it was committed
            assert kept == ["00000-1000ms-before", *third, "00004-1004ms-after", "00005-1005ms-after"], (step, kept)
            if code == 0:
                break
            assert code == 42, code
        assert existed == {False, True}
        print(step)
    """
    steps = int(python(code, tmp_path))
    assert steps > 8, "a commit takes more file operations than that"


def test_trials_are_independent(files: DiskFiles, trial: TrialStore) -> None:
    other = TrialStore(files, config(seed=1).trial_id)
    commit(trial, 0)
    other.write_attempt(attempt())
    assert other.numbers() == []
    assert trial.attempts() == []
