"""The last two checkpoints of a trial and those marked `keep` stay, and all others are deleted."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.errors import StorageError
from orchestrator.store.files.checkpoints import LAST_CHECKPOINTS
from orchestrator.store.trial import Checkpoint, TrialStore
from tests.store.stored import checkpoint, config, python, record
from tests.store.trials import DAMAGES, DIGEST, checkpoints, commit, damage_content, every, kept, path_of


def test_the_last_two_checkpoints_are_kept(files: DiskFiles, trial: TrialStore) -> None:
    for epoch in range(5):
        commit(trial, epoch)
        assert [int(name[:5]) for name in checkpoints(files)] == list(range(max(0, epoch - 1), epoch + 1))
    assert LAST_CHECKPOINTS == 2
    assert trial.numbers() == [0, 1, 2, 3, 4]


def test_marked_checkpoints_and_the_last_two_are_kept(files: DiskFiles, trial: TrialStore) -> None:
    for epoch in range(12):
        commit(trial, epoch, keep=every(5))
        expected = {e for e in range(epoch + 1) if e % 5 == 0} | {epoch, epoch - 1} - {-1}
        assert kept(files) == sorted(expected)
    assert [trial.read(epoch).keep for epoch in (0, 4, 5, 11)] == [True, False, True, False]


def test_all_checkpoints_are_kept_if_all_are_marked(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, *range(6), keep=every(1))
    assert kept(files) == list(range(6))


def test_a_checkpoint_kept_by_one_sweep_is_not_deleted_by_another(files: DiskFiles, trial: TrialStore) -> None:
    """Processes with different policies train the trial one after another."""
    commit(trial, *range(5), keep=every(2))
    other = TrialStore(files, trial.trial_id)
    commit(other, *range(5, 8), by="second")
    assert kept(files) == [0, 2, 4, 6, 7]
    commit(TrialStore(files, trial.trial_id), *range(8, 12), by="third", keep=every(3))
    assert kept(files) == [0, 2, 4, 9, 10, 11]


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from(["commit", "keep", "crash", "stale", "process"]), max_size=25))
def test_exactly_the_marked_and_the_last_two_checkpoints_remain(steps: list[str]) -> None:
    """Commits, marks, crashes before a commit, late writers and new processes in random order."""
    with TemporaryDirectory() as folder:
        files = DiskFiles(Path(folder))
        trial = TrialStore(files, config().trial_id)
        epoch, to_keep = -1, set[int]()
        for number, what in enumerate(steps):
            if what in ("commit", "keep"):
                epoch += 1
                if what == "keep":
                    to_keep.add(epoch)
                assert trial.commit(record(epoch), checkpoint(epoch), DIGEST, f"by-{number}", what == "keep")
                assert kept(files) == sorted(to_keep | ({epoch, epoch - 1} - {-1}))
            elif what == "crash":
                files.write(f"trials/{trial.trial_id}/checkpoints/{epoch + 1:05d}-dead-{number}", b"state of nobody")
            elif what == "stale" and epoch >= 0:  # a second checkpoint of an epoch that is already committed
                files.write(f"trials/{trial.trial_id}/checkpoints/{epoch:05d}-dead-{number}", b"state of nobody")
            else:
                trial = TrialStore(files, trial.trial_id)
            assert [c.record.epoch for c in trial.with_checkpoint(99)] == sorted(
                to_keep | ({epoch, epoch - 1} - {-1, -2})
            )
            for commit_ in trial.with_checkpoint(99):
                assert trial.read_checkpoint(commit_) == checkpoint(commit_.record.epoch)
        latest = trial.latest_checkpoint()
        assert latest == (Checkpoint(epoch, checkpoint(epoch), DIGEST) if epoch >= 0 else None)


def test_the_checkpoint_of_a_damaged_commit_is_not_deleted(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, *range(4), keep=every(2))
    (files.root / "trials" / trial.trial_id / "epochs" / "00000.json").write_bytes(b"{")
    commit(TrialStore(files, trial.trial_id), 4, 5)
    assert kept(files) == [0, 2, 4, 5]


def test_marked_checkpoint_is_used_if_the_last_two_are_damaged(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, *range(5), keep=every(2))
    for epoch in (3, 4):
        damage_content(path_of(files, epoch))
    assert trial.latest_checkpoint() == Checkpoint(2, checkpoint(2), DIGEST, damaged=(4, 3))
    path_of(files, 2).unlink()
    assert trial.latest_checkpoint() == Checkpoint(0, checkpoint(0), DIGEST, damaged=(4, 3, 2, 1))


def test_epochs_with_a_checkpoint_are_found(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, *range(9), keep=every(3))
    files.write(f"trials/{trial.trial_id}/checkpoints/00002-crashed", b"state of nobody")
    files.write(f"trials/{trial.trial_id}/checkpoints/00009-coming", b"about to be committed")
    assert [c.record.epoch for c in trial.with_checkpoint(100)] == [0, 3, 6, 7, 8]
    assert [c.record.epoch for c in trial.with_checkpoint(7)] == [0, 3, 6, 7]
    assert [c.record.epoch for c in trial.with_checkpoint(100, every=2)] == [0, 6, 8]
    assert trial.read_checkpoint(trial.read(3)) == checkpoint(3)
    assert trial.read_checkpoint(trial.read(2)) is None


def test_a_damaged_checkpoint_is_reported(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0)
    damage_content(path_of(files, 0))
    with pytest.raises(StorageError) as caught:
        trial.read_checkpoint(trial.read(0))
    assert str(caught.value) == (
        f"checkpoint {path_of(files, 0)} is damaged: its digest differs from the committed one; "
        "delete it to resume from an earlier checkpoint"
    )


def test_checkpoints_without_a_commit_are_ignored_and_deleted(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    folder = f"trials/{trial.trial_id}/checkpoints"
    for crashed in ("a", "b", "c"):
        files.write(f"{folder}/00002-{crashed}", b"state of nobody")
    assert trial.numbers() == [0, 1]
    assert trial.latest_checkpoint() == Checkpoint(1, checkpoint(1), DIGEST)
    commit(trial, 2, by="second")
    assert checkpoints(files) == ["00001-1001ms-first", "00002-1002ms-second"]


def test_the_next_checkpoint_of_another_writer_is_not_deleted(files: DiskFiles, trial: TrialStore) -> None:
    """A checkpoint is written before its commit, so deleting it would damage the commit."""
    commit(trial, 0)
    files.write(f"trials/{trial.trial_id}/checkpoints/00002-other", b"about to be committed")
    commit(trial, 1)
    assert checkpoints(files) == ["00000-1000ms-first", "00001-1001ms-first", "00002-other"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_previous_checkpoint_is_used_if_the_newest_is_damaged(
    files: DiskFiles, trial: TrialStore, damage: object
) -> None:
    assert callable(damage)
    commit(trial, 0, 1, 2)
    damage(path_of(files, 2))
    assert trial.latest_checkpoint() == Checkpoint(1, checkpoint(1), DIGEST, damaged=(2,))
    # The epoch is recomputed: its record is kept, and the trial goes on.
    assert not trial.commit(record(2, loss=9.0), checkpoint(2), DIGEST, "second")
    commit(trial, 3, by="second")
    assert trial.latest_checkpoint() == Checkpoint(3, checkpoint(3), DIGEST)
    assert list(trial.records()) == [record(epoch) for epoch in range(4)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_trial_starts_over_if_both_checkpoints_are_damaged(files: DiskFiles, trial: TrialStore, damage: object) -> None:
    assert callable(damage)
    commit(trial, 0, 1, 2, 3)
    damage(path_of(files, 2))
    damage(path_of(files, 3))
    assert trial.latest_checkpoint() is None
    assert trial.numbers() == [0, 1, 2, 3]


def test_damage_to_an_older_checkpoint_has_no_effect(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    damage_content(path_of(files, 0))
    assert trial.latest_checkpoint() == Checkpoint(1, checkpoint(1), DIGEST)


def test_repeated_crashes_do_not_fill_the_disk(files: DiskFiles, trial: TrialStore) -> None:
    """Five processes die between the checkpoint and its commit."""
    code = """
        trial = TrialStore(DiskFiles(stored.Path(sys.argv[1])), stored.config().trial_id)
        assert trial.commit(stored.record(0), stored.checkpoint(0), "d", "before")

        class Dying(DiskFiles):
            def create(self, name, content):
                os._exit(42)

        def work(number):
            dying = TrialStore(Dying(stored.Path(sys.argv[1])), trial.trial_id)
            dying.commit(stored.record(1), stored.checkpoint(1), "d", f"dying-{number}")

        assert each(5, work) == [42] * 5
        assert trial.numbers() == [0]
        assert trial.latest_checkpoint().content == stored.checkpoint(0)
    """
    python(code, files.root)
    assert len(checkpoints(files)) == 6
    commit(trial, 1)
    assert checkpoints(files) == ["00000-1000ms-before", "00001-1001ms-first"]
