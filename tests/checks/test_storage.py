"""Checks of the storage and of the cache for decoded data."""

from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.checks.finding import Severity, ok
from orchestrator.checks.storage import check_cache, check_old_copies, check_storage
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from tests.training.trials import small_trial

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_storage_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    finding = check_storage(Storage(tmp_path / "results"))
    assert finding.severity is Severity.PROBLEM
    assert "results cannot be written (Not a directory)" in str(finding)


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").write_text("a file")
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "results" / "cache"))
    (finding,) = check_cache()
    assert finding.severity is Severity.PROBLEM
    assert str(finding).endswith("; set HESSIAN_DYNAMICS_CACHE to that folder")


def test_a_folder_with_little_space_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(2**40, 2**40, 2**28))
    storage, (cache,) = check_storage(Storage(tmp_path / "results")), check_cache()
    assert (storage.severity, cache.severity) == (Severity.WARNING, Severity.WARNING)
    assert "0.2 GiB free" in storage.text
    assert "0.2 GiB free" in cache.text
    assert storage.fix.endswith("use another folder with --storage")
    assert cache.fix.endswith("set HESSIAN_DYNAMICS_CACHE to another folder")


def test_old_decoded_copies_are_listed_with_the_command_to_remove_them(tmp_path: Path) -> None:
    older = tmp_path / "cache" / "decoded-cifar10-0123"
    older.mkdir(parents=True)
    (older / "train.pixels").write_bytes(bytes(1000))
    text = "0.0 GiB of data decoded by other versions is not used by this one; to free the space: rm -rf "
    assert list(check_old_copies()) == [ok("cache", f"{text}{older}")]
    older.rename(tmp_path / "elsewhere")
    assert list(check_old_copies()) == []


def test_stored_sweeps_are_counted(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "results")
    assert check_storage(storage).text.endswith(", no sweeps yet")
    storage.sweep("one").write_manifest(Sweep("one", "", (small_trial(),), Resources()), capture())
    assert check_storage(storage).text.endswith(", 1 sweep")
