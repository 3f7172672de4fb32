"""Checks that run on a node, and workers that refuse a trial on an unfit node."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.checks.finding import Finding, Severity
from orchestrator.checks.node_fitness import DriverState, NodeQuery, check_node
from orchestrator.checks.software import software
from orchestrator.scheduling.job import TrainingJob
from orchestrator.scheduling.preflight import UnfitError
from orchestrator.scheduling.retry import FailureKind
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.parts.data_config import Data, DigitsData, ImageFolderData
from orchestrator.study.sweep import Resources, Sweep
from tests.training.trials import small_trial

HERE = software()


pytestmark = pytest.mark.usefixtures("own_cache")


def query(folder: Path, *data: Data, **fields: object) -> NodeQuery:
    Storage(folder).files.create("probe", b"written by the driver")
    asked = NodeQuery(str(folder), "probe", b"written by the driver", "answer", HERE, data)
    return replace(asked, **fields)  # type: ignore[arg-type]


def amiss(findings: list[Finding], subject: str) -> list[tuple[str, str]]:
    return [(each.severity.value, str(each)) for each in findings if each.subject == subject and each.severity != "ok"]


def test_a_fit_node_writes_its_answer_into_the_storage(tmp_path: Path) -> None:
    found = check_node(query(tmp_path, DigitsData(name="digits"), cpus=1.0))
    assert {each.severity for each in found} == {Severity.OK}, found
    assert {each.subject for each in found} == {"versions", "storage", "devices", "cache", "data"}
    assert Storage(tmp_path).files.read("answer") == b"written by the driver"


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"packages": {**HERE.packages, "torch": "2.0.0"}}, "torch 2.0.0, expected {torch} as on the driver"),
        ({"packages": {}}, "torch none, expected {torch} as on the driver"),
        ({"python": "3.9.1"}, "Python 3.9.1, expected {python} as on the driver"),
        ({"version": "0.0.1"}, "hessian-dynamics 0.0.1, expected {version} as on the driver"),
        ({"commit": "abc"}, "commit abc, expected def as on the driver"),
        ({"commit": "def", "diff_digest": "1"}, "uncommitted changes 1, expected none as on the driver"),
    ],
)
def test_different_software_is_reported_with_both_versions(there: dict[str, object], said: str) -> None:
    driver = replace(HERE, commit="def", diff_digest=None)
    node = replace(driver, **there)  # type: ignore[arg-type]
    values = {"torch": HERE.packages["torch"], "python": HERE.python, "version": HERE.version}
    assert node.differences(driver)[0] == said.format(**values)


def test_cpu_and_gpu_wheels_of_one_release_are_equal() -> None:
    node = replace(HERE, packages={**HERE.packages, "torch": HERE.packages["torch"].partition("+")[0] + "+cu130"})
    assert node.differences(HERE) == []


def test_an_unknown_commit_is_not_a_difference() -> None:
    unknown = replace(HERE, commit=None)
    assert unknown.differences(replace(HERE, commit="def")) == []
    assert HERE.differences(unknown) == []


def test_a_storage_without_the_drivers_file_is_a_problem(tmp_path: Path) -> None:
    asked = replace(query(tmp_path / "here"), storage_root=str(tmp_path / "there"))
    ((severity, text),) = amiss(check_node(asked), "storage")
    assert severity == "problem"
    assert text.startswith(f"{tmp_path / 'there'} is not the driver's storage")
    assert not (tmp_path / "there").exists(), "a folder that is not mounted is not created"


def test_a_storage_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    asked = query(tmp_path)
    (tmp_path / ".partial").rmdir()
    (tmp_path / ".partial").write_text("in the way")
    ((severity, text),) = amiss(check_node(asked), "storage")
    assert severity == "problem"
    assert "cannot be written" in text


def test_a_bucket_without_credentials_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    ((severity, text),) = amiss(check_node(query(tmp_path, storage_root="s3://bucket/x")), "storage")
    assert severity == "problem"
    assert "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in text


def test_missing_data_is_reported(tmp_path: Path) -> None:
    folder = ImageFolderData(name="image_folder", path=str(tmp_path / "images"))
    ((severity, text),) = amiss(check_node(query(tmp_path, folder)), "data")
    assert severity == "problem"
    assert text.startswith(f"image_folder: data folder '{tmp_path / 'images'}' does not exist")


def test_cpus_and_gpus_that_ray_schedules_but_torch_lacks_are_reported(tmp_path: Path) -> None:
    cores, gpus = amiss(check_node(query(tmp_path, cpus=4096.0, gpus=64.0)), "devices")
    assert cores[0] == "warning"
    assert "4096 CPUs of this node are registered with Ray, but only " in cores[1]
    assert gpus[0] == "problem"
    assert "64 GPUs of this node are registered with Ray, but torch finds" in gpus[1]


def test_a_worker_with_another_storage_commit_or_data_refuses_trials(tmp_path: Path) -> None:
    ours, stray = Storage(tmp_path / "ours"), Storage(tmp_path / "stray")
    with ours.sweep("night").driver_lease as lease:
        digits = DigitsData(name="digits")
        expected = DriverState(HERE, "night", lease.number, lease.token, {digits: "0123456789abcdef"})
        expected.check(ours)
        with pytest.raises(UnfitError, match="is not the driver's storage"):
            expected.check(stray)
        with stray.sweep("night").driver_lease, pytest.raises(UnfitError, match="is not the driver's storage"):
            expected.check(stray)
        failure = TrainingJob(str(stray.root), "night", lease.number, requirements=expected).run(
            "0123456789ab", "node-1"
        )
        assert failure is not None
        assert (failure.kind, failure.node) == (FailureKind.UNFIT, "node-1")
        assert not list((tmp_path / "stray").glob("trials/*"))
        older = replace(expected, software=replace(HERE, version="0.0.1"))
        with pytest.raises(UnfitError, match=f"hessian-dynamics {HERE.version}, expected 0.0.1"):
            older.check(ours)
        expected.check_data(digits, "0123456789abcdef")
        with pytest.raises(UnfitError, match="digits has digest 9999, expected 0123456789ab as on the driver"):
            expected.check_data(digits, "9999")
    with ours.sweep("night").driver_lease:
        expected.check(ours)  # a newer driver is handled by the trial's claim


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
def test_a_worker_without_the_gpu_that_ray_assigned_refuses_trials(tmp_path: Path) -> None:
    trial, storage = small_trial(), Storage(tmp_path)
    storage.sweep("night").write_manifest(Sweep("night", "", (trial,), Resources(gpu="auto")), capture())
    with storage.sweep("night").driver_lease as lease:
        expected = DriverState(HERE, "night", lease.number, lease.token, {})
        job = TrainingJob(str(tmp_path), "night", lease.number, requirements=expected, resources=Resources(gpu=1.0))
        failure = job.run(trial.trial_id, "node-1")
    assert failure is not None
    assert failure.kind is FailureKind.UNFIT
    assert "requests gpu: 1, but torch finds no GPU on" in failure.reason
