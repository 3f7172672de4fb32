"""No name leads outside the storage, whether it comes from a user, a manifest, a commit or a tracker."""

import json
import string
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.store import names
from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.backends.location import S3Location, locate
from orchestrator.store.errors import DamagedError, StorageError
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import manifest_content
from orchestrator.store.trial import TrialStore
from orchestrator.study.sweep import Resources, Sweep
from tests.store.stored import PROVENANCE, checkpoint, config, record

PARTS = st.sampled_from(
    ["..", ".", "", "a", "~", "...", "C:", "\x00", "a\n", "\\", "..\\..", "%2e%2e", "con", "é" * 200, "\ud800", "."]
)
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.lists(PARTS, min_size=1, max_size=5).map("/".join),
    st.text(alphabet="./\\~ab", max_size=20),
)


@settings(max_examples=400, deadline=None)
@given(name=HOSTILE)
@example("../outside")
@example("/etc/passwd")
@example("a/../../outside")
def test_every_path_stays_inside_the_storage_or_is_refused(name: str) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder) / "storage"
        root.mkdir()
        (Path(folder) / "outside").write_bytes(b"untouched")
        files = DiskFiles(root)
        for use in (
            lambda: files.write(name, b"x"),
            lambda: files.create(name, b"x"),
            lambda: files.read(name),
            lambda: files.list(name),
            lambda: files.age(name),
            lambda: files.delete(name),
        ):
            try:
                use()
            except StorageError:
                continue
        found = {path.relative_to(folder).parts[0] for path in Path(folder).rglob("*")}
        assert found <= {"storage", "outside"}
        assert (Path(folder) / "outside").read_bytes() == b"untouched"


@settings(max_examples=300)
@given(name=HOSTILE)
def test_every_key_of_a_bucket_begins_with_its_prefix(name: str) -> None:
    try:
        place = locate(f"s3://bucket/{name}")
    except StorageError:
        return
    assert isinstance(place, S3Location)
    assert place.bucket == "bucket"
    assert not {"..", "."} & set(place.prefix.split("/"))


@settings(max_examples=300)
@given(name=HOSTILE)
@example("../../etc")
@example("a/b")
@example("")
@example("night\n")
def test_hostile_names_of_sweeps_and_trials_are_refused(name: str) -> None:
    plain = set(string.ascii_letters + string.digits + "_-")
    files = DiskFiles(Path("/nonexistent"))
    for make in (lambda: Storage("/nonexistent").sweep(name), lambda: TrialStore(files, name)):
        try:
            make()
        except StorageError:
            continue
        assert set(name) <= plain
        assert name


@pytest.mark.parametrize("name", ["night", "learning_rate", "e2e-0a1b2c", "a" * 64 + "-abcdef", "7"])
def test_valid_sweep_names_are_accepted(name: str) -> None:
    assert names.valid_sweep_name(name) == name


@pytest.mark.parametrize("name", ["../../etc", "a/b", "other"])
def test_a_manifest_with_another_name_is_damaged(tmp_path: Path, name: str) -> None:
    storage = Storage(tmp_path)
    storage.sweep("night").write_manifest(Sweep("night", "", (config(),), Resources()), PROVENANCE)
    path = tmp_path / "sweeps" / "night" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": name}))
    with pytest.raises(DamagedError, match="it belongs to sweep"):
        storage.sweep("night").read_manifest()
    # The manifest of a tracker is parsed by the same function.
    sweep, _ = manifest_content(path.read_text())
    if name != "other":
        with pytest.raises(StorageError, match="is not a valid name of a sweep"):
            storage.sweep(sweep.name)


def test_folders_that_are_not_sweeps_are_not_listed(tmp_path: Path) -> None:
    for name in ("night", "my notes", "-x"):
        folder = tmp_path / "sweeps" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    assert Storage(tmp_path).sweeps() == ["night"]


@settings(max_examples=100, deadline=None)
@given(name=HOSTILE)
@example("../../../outside")
def test_commit_cannot_refer_to_a_file_outside_its_folder(name: str) -> None:
    with TemporaryDirectory() as folder:
        files = DiskFiles(Path(folder) / "storage")
        (Path(folder) / "outside").write_bytes(b"secret")
        trial = TrialStore(files, config().trial_id)
        assert trial.commit(record(0), checkpoint(0), "d", "first")
        path = f"trials/{trial.trial_id}/epochs/00000.json"
        fields = json.loads(files.read(path) or b"")
        del fields["digest"]
        files.write(path, json.dumps({**fields, "checkpoint": name}).encode())
        try:
            commit = trial.read(0)
        except DamagedError:
            return
        assert trial.read_checkpoint(commit) is None
