"""The numbers of claims increase, and a writer whose claim is not the newest stops before it writes."""

from collections.abc import Callable
from dataclasses import asdict, replace

import pytest

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.files import strict_json
from orchestrator.store.ownership.claims import BY_HAND, Claim, Owner, SupersededError
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.ownership.process import Process
from orchestrator.store.trial import TrialStore
from tests.store.stored import attempt, checkpoint, config, files_in, python, record

NIGHT, DAY = Owner("night", 1), Owner("day", 1)
ELSEWHERE = replace(Process.this(), host="node7.elsewhere")
DEAD = replace(Process.this(), started="1")


def writer(files: DiskFiles) -> TrialStore:
    return TrialStore(files, config().trial_id)


def commit(trial: TrialStore, epoch: int, by: str) -> bool:
    return trial.commit(record(epoch), checkpoint(epoch), "d", by)


def write(files: DiskFiles, claim: Claim) -> None:
    """Writes a claim as another process would."""
    files.write(f"trials/{config().trial_id}/claims/{claim.number:06d}.json", strict_json.to_bytes(asdict(claim)))


def driver(files: DiskFiles, owner: Owner) -> Lease:
    return Lease(files, f"sweeps/{owner.sweep}", "driver")


def test_claim_stores_its_owner_and_commits_store_its_number(trial: TrialStore) -> None:
    claim = trial.claim(NIGHT, "first")
    assert trial.claims.newest() == claim == Claim(1, NIGHT, "first", Process.this())
    assert commit(trial, 0, "first")
    assert trial.read(0).claim == 1
    assert trial.claim(NIGHT, "second").number == 2
    assert commit(trial, 1, "second")
    assert [trial.read(epoch).claim for epoch in (0, 1)] == [1, 2]


WRITES: list[Callable[[TrialStore], object]] = [
    lambda trial: commit(trial, 1, "first"),
    lambda trial: trial.write_attempt(attempt("first", ended="failed", reason="no reason")),
    lambda trial: trial.write_config(config()),
]


@pytest.mark.parametrize("write_something", WRITES)
def test_a_superseded_writer_writes_nothing(files: DiskFiles, write_something: Callable[[TrialStore], object]) -> None:
    first, second = writer(files), writer(files)
    first.claim(NIGHT, "first")
    assert commit(first, 0, "first")
    second.claim(NIGHT, "second")
    before = files_in(files.root)
    with pytest.raises(SupersededError) as caught:
        write_something(first)
    assert str(caught.value) == (
        f"attempt first (claim 1) is superseded by sweep 'night', {Process.this()} (claim 2); it stops, and "
        "its committed records are kept"
    )
    assert files_in(files.root) == before
    assert commit(second, 1, "second")


def test_a_writer_superseded_before_its_commit_deletes_its_checkpoint(files: DiskFiles) -> None:
    class Late(DiskFiles):
        def write_in_place(self, name: str, content: bytes) -> None:
            super().write_in_place(name, content)
            if "/checkpoints/" in name:
                writer(files).claim(NIGHT, "second")

    first = TrialStore(Late(files.root), config().trial_id)
    first.claim(NIGHT, "first")
    with pytest.raises(SupersededError):
        commit(first, 0, "first")
    assert first.numbers() == []
    assert files.list(f"trials/{config().trial_id}/checkpoints") == []


def test_eight_concurrent_claims_have_different_numbers(files: DiskFiles) -> None:
    code = """
        from orchestrator.store.ownership.claims import Owner
        trial = TrialStore(DiskFiles(stored.Path(sys.argv[1])), stored.config().trial_id)
        assert sorted(each(8, lambda number: trial.claim(Owner("night", 0), f"by-{number}").number)) == [*range(1, 9)]
    """
    python(code, files.root)


def test_an_orphaned_worker_cannot_claim(files: DiskFiles, trial: TrialStore) -> None:
    with driver(files, NIGHT) as orphans:
        pass
    with driver(files, NIGHT) as lease:
        with pytest.raises(SupersededError, match=r"'night' has a newer driver \(lease 2\).*\(lease 1\)"):
            trial.claim(Owner("night", orphans.number), "orphan")
        trial.claim(Owner("night", lease.number), "ours")


# --- rivals ---


def test_no_rival_within_the_same_sweep(files: DiskFiles, trial: TrialStore) -> None:
    with driver(files, NIGHT):
        trial.claim(NIGHT, "first")
        assert writer(files).claims.rival(NIGHT) is None


def test_running_attempt_of_another_sweep_is_a_rival(files: DiskFiles, trial: TrialStore) -> None:
    with driver(files, DAY):
        claim = trial.claim(DAY, "first")
        assert trial.claims.rival(NIGHT) == claim
        trial.write_attempt(attempt("first", claim=1))
        assert trial.claims.rival(NIGHT) == claim
        trial.write_attempt(attempt("first", claim=1, ended="interrupted"))
        assert trial.claims.rival(NIGHT) is None
        trial.claim(DAY, "second")
        assert trial.claims.rival(NIGHT) is not None
    assert trial.claims.rival(NIGHT) is None, "its driver has ended"


def test_rival_must_belong_to_the_current_driver_of_its_sweep(files: DiskFiles, trial: TrialStore) -> None:
    with driver(files, DAY):
        pass
    with driver(files, DAY):
        write(files, Claim(1, DAY, "first", ELSEWHERE))
        assert trial.claims.rival(NIGHT) is None
        write(files, Claim(2, Owner("day", 2), "second", ELSEWHERE))
        assert trial.claims.rival(NIGHT) is not None
        write(files, Claim(3, Owner("day", 2), "third", DEAD))
        assert trial.claims.rival(NIGHT) is None


def test_attempt_by_hand_is_a_rival_while_its_process_is_alive(files: DiskFiles, trial: TrialStore) -> None:
    assert trial.claims.rival(BY_HAND) is None
    for number, (process, waits) in enumerate([(Process.this(), True), (DEAD, False), (ELSEWHERE, False)], start=1):
        write(files, Claim(number, BY_HAND, "by-hand", process))
        assert (trial.claims.rival(NIGHT) is not None) == waits


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"owner": {}}', strict_json.to_bytes(asdict(Claim(7, Owner("../../etc", 1), "a", ELSEWHERE)))],
)
def test_a_damaged_claim_is_superseded_like_any_other(files: DiskFiles, trial: TrialStore, content: bytes) -> None:
    trial.claim(NIGHT, "first")
    files.write(f"trials/{config().trial_id}/claims/000007.json", content)
    assert trial.claims.newest() is None
    assert trial.claims.rival(NIGHT) is None
    with pytest.raises(SupersededError, match="superseded by a newer claim"):
        trial.check_claim()
    assert trial.claim(NIGHT, "second").number == 8
