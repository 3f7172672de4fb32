"""What is said when shipping does not go as it should, and how long it is tried."""

import shlex
import time
from pathlib import Path

import pytest

from orchestrator.store.trial_status import State
from orchestrator.tracking import background as following
from orchestrator.tracking import shipper
from orchestrator.tracking.background import SHIP_VARIABLE, Following
from orchestrator.tracking.follower import start_follower, wait_for_follower
from orchestrator.tracking.links import ship_command
from orchestrator.tracking.shipper import ship
from orchestrator.tracking.sync import Mirror
from tests.tracking.processes import driving, free_port, kill
from tests.tracking.stored import Shown, assert_shows, expected_points, manifest, rows, sweep, train, trained


def test_a_sweep_of_which_nothing_has_begun_is_shipped_twice_without_a_change(tmp_path: Path, uri: str) -> None:
    storage = manifest(tmp_path / "results", sweep())
    ship(storage, "toy", uri, False, lambda line: None)
    before = rows(tmp_path / "mlflow.db")
    ship(storage, "toy", uri, False, lambda line: None)
    assert rows(tmp_path / "mlflow.db") == before


def test_fewer_epochs_are_asked_for_than_are_stored(tmp_path: Path, uri: str) -> None:
    desired = sweep(epochs=2)
    storage = trained(tmp_path / "results", sweep(epochs=4))
    manifest(storage.root, desired)
    assert ship(storage, "toy", uri, False, lambda line: None).shipped_epochs == 12
    assert set(assert_shows(uri, storage, desired).statuses().values()) == {"FINISHED"}


@pytest.mark.parametrize("epoch", [0, 2, 3])
@pytest.mark.parametrize("content", [b"\0" * 10, b"{}", b'{"record": {}}', b""])
def test_a_damaged_epoch_keeps_no_other_trial_from_being_shipped(
    epoch: int, content: bytes, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "ONE_SHOT_PATIENCE_SECONDS", 60.0)  # on a busy machine all takes long
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    first, hurt, *others = desired.trials
    damaged = storage.root / "trials" / hurt.trial_id / "epochs" / f"{epoch:05d}.json"
    whole, lines = damaged.read_bytes(), list[str]()
    damaged.write_bytes(content)
    began = time.monotonic()
    result = ship(storage, "toy", uri, False, lines.append)
    assert time.monotonic() - began < 50, "nothing was waited for"
    assert not result.complete
    assert len(lines) == 2
    assert lines[0].startswith(f"trial {hurt.trial_id}: ")
    assert "is damaged" in lines[0]
    assert lines[0].endswith("; the other trials are shipped")
    assert f"but not all of 1 trial that the storage has damaged: trial {hurt.trial_id}: " in lines[1]
    assert lines[1].endswith(f"once that is mended: {ship_command(storage.root, 'toy', uri)}")
    status = storage.sweep("toy").shipper_status()
    assert status is not None
    assert (status.state, status.message) == ("damaged", lines[1])
    shown = Shown(uri)
    for config in (first, *others):
        assert shown.points(config.trial_id) == expected_points(storage, config)
        assert shown.statuses()[config.trial_id] == "FINISHED"
    assert {point[1] for point in shown.points(hurt.trial_id)} == set(range(epoch))
    assert "is damaged" in shown.trials[hurt.trial_id].data.tags["damage"]
    assert "RUNNING" not in shown.statuses().values()
    assert shown.sweep_run.info.status == "KILLED"
    damaged.write_bytes(whole)  # in place: the folder does not show that anything has changed
    assert ship(storage, "toy", uri, False, lines.append).complete
    mended = assert_shows(uri, storage, desired)
    assert set(mended.statuses().values()) == {"FINISHED"}
    assert "damage" not in mended.trials[hurt.trial_id].data.tags


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("shipped_before", [False, True])
def test_what_is_shipped_while_an_epoch_is_computed_again_is_shipped_once_and_whole(
    epoch: int, shipped_before: bool, tmp_path: Path, uri: str
) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    trial = storage.trial(desired.trials[1].trial_id)
    if shipped_before:
        ship(storage, "toy", uri, False, lambda line: None)
    path = storage.root / "trials" / trial.trial_id / "epochs" / f"{epoch:05d}.json"
    content = path.read_bytes()
    path.write_bytes(b"")
    assert trial.set_aside_damaged() == [epoch]
    ship(storage, "toy", uri, False, lambda line: None)
    path.write_bytes(content)
    ship(storage, "toy", uri, False, lambda line: None)
    shown = assert_shows(uri, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}


def test_a_damaged_attempt_keeps_no_epoch_from_being_shipped(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    (attempt,) = (storage.root / "trials" / desired.trials[0].trial_id / "attempts").iterdir()
    attempt.write_bytes(b"{")
    result = ship(storage, "toy", uri, False, print)
    assert (result.complete, result.shipped_epochs) == (True, 16)


def test_a_server_that_says_no_is_told_from_one_that_is_away(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "ONE_SHOT_PATIENCE_SECONDS", 0.1)
    storage = manifest(tmp_path / "results", sweep(name="taken"))
    lines = list[str]()
    monkeypatch.setattr("orchestrator.tracking.labels.trial_params", lambda config: {"no=": "name MLflow takes?"})
    assert not ship(storage, "taken", server, False, lines.append).complete
    assert lines[0].startswith(f"tracker {server} refuses (INVALID_PARAMETER_VALUE: ")


def test_a_tracker_that_takes_epochs_but_no_files_is_away_once(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "ONE_SHOT_PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(shipper, "POLL_SECONDS", 0.1)
    (tmp_path / "mlartifacts").write_bytes(b"a file where the folder of artifacts should be")
    desired, lines = sweep(), list[str]()
    storage = trained(tmp_path / "results", desired)
    assert not ship(storage, "toy", uri, False, lines.append).complete
    assert len(lines) == 2
    assert all("mlartifacts" in line for line in lines)
    (tmp_path / "mlartifacts").unlink()
    assert ship(storage, "toy", uri, False, lines.append).complete
    assert_shows(uri, storage, desired)


def test_patience_begins_with_the_outage_and_not_with_the_shipping(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage long after the beginning is waited for all the same."""
    monkeypatch.setattr(shipper, "ONE_SHOT_PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(shipper, "POLL_SECONDS", 0.1)
    update, rounds = Mirror.update, list[float]()

    def slow_then_broken(self: Mirror, *arguments: object) -> None:
        rounds.append(time.monotonic())
        if len(rounds) == 1:
            time.sleep(2.5)
            raise ConnectionError("gone for a moment")
        update(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Mirror, "update", slow_then_broken)
    desired, lines = sweep(), list[str]()
    storage = trained(tmp_path / "results", desired)
    assert ship(storage, "toy", uri, False, lines.append).complete
    assert [line.partition(" ")[0] for line in lines] == ["tracker", "tracker", "16"]
    assert_shows(uri, storage, desired)


def test_a_follower_with_a_password_in_its_uri_notes_it_nowhere(tmp_path: Path) -> None:
    storage = trained(tmp_path / "results", sweep())
    store = storage.sweep("toy")
    with driving(storage, "toy"):
        follower = start_follower(storage.root, "toy", f"http://me:geheim@127.0.0.1:{free_port()}", store.log)
        try:
            status = wait_for_follower(store, follower)
        finally:
            kill(follower)
    assert status is not None
    assert status.state == "unreachable"
    assert "cannot be reached" in store.log.read_text()
    stored = [path for path in storage.root.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]
    assert stored == []


def run_without_tracker(folder: Path) -> tuple[Following, str, list[str]]:
    """A trial trained beside a shipper whose tracker is away: the shipper's side, the tracker, and what was said."""
    desired, lines, uri = sweep(), list[str](), f"http://127.0.0.1:{free_port()}"
    storage = manifest(folder, desired)
    beside = Following(storage, "toy", uri, lines.append)
    with driving(storage, "toy"):
        beside.start()
        assert beside._follower
        try:
            beside.wait_until_ready()
            train(storage, desired.trials[0], 0, 3, State.COMPLETED)
            beside.wait_until_shipped()
        finally:
            kill(beside._follower)
    return beside, uri, lines


def test_a_run_whose_tracker_is_away_ends_with_the_command_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_PERSON_SECONDS", 0.1)
    beside, uri, lines = run_without_tracker(tmp_path / "results")
    assert lines[0].startswith(f"tracker {uri} cannot be reached (")
    assert lines[0].endswith("; training begins, the epochs are shipped when it is back")
    assert lines[1].endswith(f"this does: {ship_command(tmp_path / 'results', 'toy', uri)}")
    lines.clear()
    beside.wait_until_shipped()
    assert lines == [lines[0]]
    assert lines[0].startswith(f"tracker {uri} cannot be reached (")


def test_where_the_shipper_ends_with_the_run_nothing_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHIP_VARIABLE, "0.1")
    _, uri, lines = run_without_tracker(tmp_path / "results")
    assert lines[1].startswith(f"tracker {uri} cannot be reached (")
    command = ship_command(tmp_path / "results", "toy", uri)
    assert lines[1].endswith(
        f"; shipping is not done after the 0.1 s of {SHIP_VARIABLE}; what is missing in MLflow, this ships: {command}"
    )


def test_a_run_waits_for_its_shipper_as_long_as_the_variable_says(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_PERSON_SECONDS", 0.0)
    monkeypatch.setenv(SHIP_VARIABLE, "60")
    desired, lines = sweep(), list[str]()
    storage = manifest(tmp_path / "results", desired)
    beside = Following(storage, "toy", uri, lines.append)
    with driving(storage, "toy"):
        beside.start()
        beside.wait_until_ready()
        trained(storage.root, desired)
    beside.wait_until_shipped()
    assert lines[0].startswith("16 epochs shipped to sqlite:")
    assert_shows(uri, storage, desired)


@pytest.mark.parametrize("text", ["10m", "-1", "nan", "inf"])
def test_a_time_to_wait_that_is_none_is_refused_at_once(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHIP_VARIABLE, text)
    with pytest.raises(ValueError, match=f"{SHIP_VARIABLE}='{text}': expected a number of seconds, .*=600 say"):
        Following(manifest(tmp_path / "results", sweep()), "toy", "sqlite:///mlflow.db", print)


def test_a_run_whose_shipper_was_killed_says_what_ships_the_rest(tmp_path: Path, uri: str) -> None:
    desired, lines = sweep(), list[str]()
    storage = manifest(tmp_path / "results", desired)
    beside = Following(storage, "toy", uri, lines.append)
    with driving(storage, "toy"):
        beside.start()
        assert beside._follower
        beside.wait_until_ready()
        kill(beside._follower)
        trained(storage.root, desired)
    beside.wait_until_shipped()
    command = ship_command(storage.root, "toy", uri)
    assert lines[0].startswith(f"the shipper ended early, see {storage.sweep('toy').log}; ")
    assert lines[0].endswith(f"this ships: {command}")
    assert lines[1].startswith("curves: make ui, then http://127.0.0.1:5000/#/experiments/")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://host:5000", "hessian-dynamics ship toy --storage '/a b' --tracking-uri http://host:5000"),
        ("http://me:pw@host", "MLFLOW_TRACKING_URI='http://***@host' hessian-dynamics ship toy --storage '/a b'"),
    ],
)
def test_the_command_that_ships_can_be_pasted(uri: str, expected: str) -> None:
    command = ship_command(Path("/a b"), "toy", uri)
    assert command == expected
    assert "/a b" in shlex.split(command)
