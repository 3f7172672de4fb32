"""Results as JSON."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.harness.results import read, write
from tests.benchmarks.machines import result


def test_written_result_is_read_back(tmp_path: Path) -> None:
    path = write(result(), tmp_path / "results")
    assert path.name == "one-amd-epyc-7763-64-core-2-cores.json"
    assert read(path) == result()


def test_version_of_a_library_is_found_by_its_short_name() -> None:
    found = replace(result(), versions={"PyHessian": "0.1", "curvlinops-for-pytorch": "3.0"})
    assert [found.version(name) for name in ("PyHessian", "curvlinops", "other")] == ["0.1", "3.0", ""]


def test_other_json_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"benchmark": "one"}')
    with pytest.raises(ValueError, match=r"x.json lacks date, commit, .*: run the benchmark again, or delete the file"):
        read(path)
