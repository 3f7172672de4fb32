"""An epoch is committed whole or not at all, and a trial resumes from its newest intact checkpoint."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.checkpoints import LAST_CHECKPOINTS
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.trial import Checkpoint, TrialStore
from orchestrator.study.record import EpochRecord
from tests.store.stored import PROVENANCE, attempt, checkpoint, config, files_in, python, record

DIGEST = "d" * 64


@pytest.fixture
def files(tmp_path: Path) -> DiskFiles:
    return DiskFiles(tmp_path)


@pytest.fixture
def trial(files: DiskFiles) -> TrialStore:
    return TrialStore(files, config().trial_id)


def commit(trial: TrialStore, *epochs: int, by: str = "first", keep: Callable[[int], bool] = lambda e: False) -> None:
    for epoch in epochs:
        assert trial.commit(record(epoch), checkpoint(epoch), DIGEST, by, keep(epoch))


def every(step: int) -> Callable[[int], bool]:
    return lambda epoch: epoch % step == 0


def kept(files: DiskFiles) -> list[int]:
    return [int(name[:5]) for name in checkpoints(files)]


def checkpoints(files: DiskFiles) -> list[str]:
    return files.list(f"trials/{config().trial_id}/checkpoints")


def path_of(files: DiskFiles, epoch: int) -> Path:
    (name,) = [name for name in checkpoints(files) if name.startswith(f"{epoch:05d}-")]
    return files.root / "trials" / config().trial_id / "checkpoints" / name


def test_an_unknown_trial_is_empty(files: DiskFiles, trial: TrialStore) -> None:
    assert trial.config() is None
    assert trial.epochs() == []
    assert list(trial.records()) == []
    assert trial.attempts() == []
    assert trial.latest_checkpoint() is None
    assert files_in(files.root) == []


def test_a_config_is_read_as_written(trial: TrialStore) -> None:
    trial.write_config(config())
    assert trial.config() == config()
    trial.write_config(config(epochs=20))
    assert trial.config() == config(epochs=20)


def test_a_config_is_kept_under_its_own_id_only(trial: TrialStore) -> None:
    with pytest.raises(AssertionError):
        trial.write_config(config(seed=1))
    assert trial.config() is None


def test_a_committed_epoch_is_read_as_written(trial: TrialStore) -> None:
    commit(trial, 0)
    stored = trial.read(0)
    assert (stored.record, stored.data_digest, stored.attempt) == (record(0), DIGEST, "first")
    assert trial.latest_checkpoint() == Checkpoint(0, checkpoint(0), DIGEST)


def test_every_bit_of_a_record_is_kept(trial: TrialStore) -> None:
    odd = EpochRecord(
        epoch=0,
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


def test_epochs_and_records_are_in_order(trial: TrialStore) -> None:
    commit(trial, 2, 10, 0, 1, 99_999, 100_000)
    assert trial.epochs() == [0, 1, 2, 10, 99_999, 100_000]
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
            )  # deleted by nobody else
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
            assert (latest.epoch, latest.content, latest.damaged) == (epoch, b"%d" % winner * 1000, ())
    """
    python(code, files.root)
    assert trial.epochs() == [0, 1, 2, 3, 4]
    assert [name[:5] for name in checkpoints(files)] == ["00003", "00004"]


# --- checkpoints ---


def test_the_last_two_checkpoints_are_kept(files: DiskFiles, trial: TrialStore) -> None:
    for epoch in range(5):
        commit(trial, epoch)
        assert [int(name[:5]) for name in checkpoints(files)] == list(range(max(0, epoch - 1), epoch + 1))
    assert LAST_CHECKPOINTS == 2
    assert trial.epochs() == [0, 1, 2, 3, 4]


def test_checkpoints_to_keep_stay_with_the_last_two(files: DiskFiles, trial: TrialStore) -> None:
    for epoch in range(12):
        commit(trial, epoch, keep=every(5))
        expected = {e for e in range(epoch + 1) if e % 5 == 0} | {epoch, epoch - 1} - {-1}
        assert kept(files) == sorted(expected)
    assert [trial.read(epoch).keep for epoch in (0, 4, 5, 11)] == [True, False, True, False]


def test_all_keeps_every_epoch(files: DiskFiles, trial: TrialStore) -> None:
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


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from(["commit", "keep", "crash", "stale", "process"]), max_size=25))
def test_exactly_the_kept_and_the_last_checkpoints_remain(steps: list[str]) -> None:
    """Policies, crashes before a commit, late writers and new processes in any order."""
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
            elif what == "stale" and epoch >= 0:  # of an epoch committed by another writer meanwhile
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


def test_if_the_last_two_are_damaged_a_kept_one_is_used(files: DiskFiles, trial: TrialStore) -> None:
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
        "delete it, and its epoch is skipped"
    )


def test_checkpoints_without_a_commit_are_ignored_and_deleted(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    folder = f"trials/{trial.trial_id}/checkpoints"
    for crashed in ("a", "b", "c"):
        files.write(f"{folder}/00002-{crashed}", b"state of nobody")
    assert trial.epochs() == [0, 1]
    assert trial.latest_checkpoint() == Checkpoint(1, checkpoint(1), DIGEST)
    commit(trial, 2, by="second")
    assert checkpoints(files) == ["00001-1001ms-first", "00002-1002ms-second"]


def test_the_next_checkpoint_of_another_writer_is_not_deleted(files: DiskFiles, trial: TrialStore) -> None:
    """It is written before its commit, so deleting it would damage that commit."""
    commit(trial, 0)
    files.write(f"trials/{trial.trial_id}/checkpoints/00002-other", b"about to be committed")
    commit(trial, 1)
    assert checkpoints(files) == ["00000-1000ms-first", "00001-1001ms-first", "00002-other"]


def damage_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_length(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_all(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [damage_content, damage_length, damage_all, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES)
def test_if_the_newest_is_damaged_the_one_before_is_used(files: DiskFiles, trial: TrialStore, damage: object) -> None:
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
def test_if_both_checkpoints_are_damaged_the_trial_starts_over(
    files: DiskFiles, trial: TrialStore, damage: object
) -> None:
    assert callable(damage)
    commit(trial, 0, 1, 2, 3)
    damage(path_of(files, 2))
    damage(path_of(files, 3))
    assert trial.latest_checkpoint() is None
    assert trial.epochs() == [0, 1, 2, 3]


def test_a_damaged_checkpoint_before_the_newest_does_not_matter(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0, 1)
    damage_content(path_of(files, 0))
    assert trial.latest_checkpoint() == Checkpoint(1, checkpoint(1), DIGEST)


def test_a_damaged_commit_is_reported(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, 0)
    path = files.root / "trials" / trial.trial_id / "epochs" / "00000.json"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StorageError) as caught:
        trial.read(0)
    assert str(caught.value) == (
        f"{path} is damaged; run the sweep again: it sets the file aside and recomputes the epoch, to the same "
        "numbers (expected the unchanged commit of epoch 0 as JSON)"
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


def test_a_commit_of_another_epoch_or_of_a_path_is_damaged(files: DiskFiles, trial: TrialStore) -> None:
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


def test_damaged_epochs_are_set_aside_and_recomputed_with_their_time(files: DiskFiles, trial: TrialStore) -> None:
    commit(trial, *range(4))
    path = files.root / "trials" / trial.trial_id / "epochs"
    path.joinpath("00001.json").write_bytes(path.joinpath("00001.json").read_bytes()[:-30])
    path.joinpath("00002.json").write_bytes(b"")
    assert trial.set_aside_damaged() == [1, 2]
    assert trial.epochs() == [0, 3]
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
    if not last:  # until its checkpoint is deleted too
        commit(TrialStore(files, trial.trial_id), *range(3, 6), by="second")
        assert kept(files) == [4, 5]
    files.write(f"trials/{trial.trial_id}/epochs/00002.json", damaged)
    assert trial.set_aside_damaged() == [2]
    assert trial.damaged_timestamps() == {2: 1002}


def test_the_time_of_a_damaged_epoch_comes_last_from_its_own_file(files: DiskFiles, trial: TrialStore) -> None:
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
    """Checkpoint names of early versions contain the attempt only, which begins with its start time."""
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
    assert trial.epochs() == [0, 1]
    assert trial.attempts() == []
    commit(trial, 2)
    assert trial.latest_checkpoint() == Checkpoint(2, checkpoint(2), DIGEST)


def test_records_are_strict_json_and_early_ones_are_read(files: DiskFiles, trial: TrialStore) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    odd = EpochRecord(epoch=0, timestamp_ms=5, loss_train=math.nan, lanczos_history=(math.inf, -math.inf, 1.0))
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


# --- crashes ---


def test_a_commit_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    """Each process dies one file operation later than the one before, until one finishes."""
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
            exists = trial.epochs() == [0, 1, 2, 3]
            assert exists or trial.epochs() == [0, 1, 2], (step, trial.epochs())
            existed.add(exists)
            latest = trial.latest_checkpoint()
            last = 3 if exists else 2
            assert (latest.epoch, latest.content, latest.damaged) == (last, stored.checkpoint(last), ()), step
            assert trial.read(last).record == stored.record(last)
            for epoch in range(last + 1, 6):
                assert trial.commit(stored.record(epoch), stored.checkpoint(epoch), "d", "after"), step
                assert trial.latest_checkpoint().content == stored.checkpoint(epoch)
                assert not trial.latest_checkpoint().damaged
            kept = files.list(f"trials/{trial.trial_id}/checkpoints")
            third = ["00003-1003ms-dying"] if exists else []  # kept only if it was committed
            assert kept == ["00000-1000ms-before", *third, "00004-1004ms-after", "00005-1005ms-after"], (step, kept)
            if code == 0:
                break
            assert code == 42, code
        assert existed == {False, True}
        print(step)
    """
    steps = int(python(code, tmp_path))
    assert steps > 8, "a commit takes more file operations than that"


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
        assert trial.epochs() == [0]
        assert trial.latest_checkpoint().content == stored.checkpoint(0)
    """
    python(code, files.root)
    assert len(checkpoints(files)) == 6
    commit(trial, 1)
    assert checkpoints(files) == ["00000-1000ms-before", "00001-1001ms-first"]


# --- attempts ---


def test_attempts_are_listed_oldest_first(trial: TrialStore) -> None:
    late, early = attempt("2000-aaa", 2000, first_epoch=3), attempt("1000-bbb", 1000)
    trial.write_attempt(late)
    trial.write_attempt(early)
    assert trial.attempts() == [early, late]
    assert trial.attempts()[0].provenance == PROVENANCE


def test_an_attempt_that_ended_replaces_the_one_that_began(trial: TrialStore) -> None:
    trial.write_attempt(attempt())
    assert trial.attempts()[0].ended is None
    ended = attempt(ended="failed", reason="Traceback: 'ö'\n")
    trial.write_attempt(ended)
    assert trial.attempts() == [ended]


def test_attempts_are_ordered_by_claim_and_not_by_clock(trial: TrialStore) -> None:
    fast, slow = attempt("9000-aaa", 9000, claim=1), attempt("1000-bbb", 1000, claim=2)
    for each in (slow, fast):
        trial.write_attempt(each)
    assert trial.attempts() == [fast, slow]


def test_a_damaged_attempt_is_ignored(files: DiskFiles, trial: TrialStore) -> None:
    trial.write_attempt(attempt())
    for number, content in enumerate((b"", b"{", b"[]", b"{}", b'{"provenance": 3}')):
        files.write(f"trials/{trial.trial_id}/attempts/{number}.json", content)
    assert trial.attempts() == [attempt()]


def test_trials_are_independent(files: DiskFiles, trial: TrialStore) -> None:
    other = TrialStore(files, config(seed=1).trial_id)
    commit(trial, 0)
    other.write_attempt(attempt())
    assert other.epochs() == []
    assert trial.attempts() == []
