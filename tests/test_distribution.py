"""The sdist and the wheel: their content, and the command installed from them outside the clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
PACKAGES = ("estimators/", "orchestrator/", "sweeps/")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of the tracked files, so that files left by other builds are not in it."""
    folder = tmp_path_factory.mktemp("source")
    for name in TRACKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return _build("sdist", folder)


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return _build("wheel", next(folder.iterdir()))


def _build(kind: str, source: Path) -> Path:
    code = f"from setuptools import build_meta; build_meta.build_{kind}('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, stdout=subprocess.DEVNULL)
    (built,) = (source / "dist").iterdir()
    return built


class Installed:
    """A virtual environment with the wheel, outside the clone."""

    def __init__(self, folder: Path, wheel: Path, dependencies: bool) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        venv.create(folder / "venv", with_pip=False)
        self.bin = folder / "venv" / "bin"
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "--quiet", "install"]
        subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
        if (
            dependencies
        ):  # those of the tests, without their link to the clone, which only works in the site folder itself
            (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
            (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the environment in an empty folder."""
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=900,
        )


def test_the_wheel_has_all_files_of_the_packages_and_no_others(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert files == {name for name in TRACKED if name.startswith(PACKAGES)} - {"sweeps/README.md"}


def test_the_sdist_has_what_builds_the_wheel(sdist: Path, wheel: Path) -> None:
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} <= files
    assert {"pyproject.toml", "README.md", "LICENSE"} <= files
    assert not any(name.startswith("tests/") for name in files)


def test_without_extras_only_torch_is_required(wheel: Path) -> None:
    required = [str(line) for line in _metadata(wheel).get_all("Requires-Dist", [])]
    assert [line for line in required if "extra ==" not in line] == ["torch>=2.6"]
    assert any(line.startswith("typer") and 'extra == "sweep"' in line for line in required)


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_without_dependencies_the_command_says_what_to_install(wheel: Path, tmp_path: Path) -> None:
    refused = Installed(tmp_path, wheel, dependencies=False)("hessian-dynamics", "--help")
    assert refused.returncode == 2
    assert refused.stderr == "error: rich is not installed: pip install 'hessian-dynamics[sweep]'\n"


def test_an_installed_sweep_is_planned_run_and_reported_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed = Installed(tmp_path, wheel, dependencies=True)
    where = installed(
        "python", "-c", "import estimators, orchestrator; print(estimators.__file__, orchestrator.__file__)"
    )
    assert all(file.startswith(str(tmp_path)) for file in where.stdout.split()), where.stdout + where.stderr
    shown = installed("hessian-dynamics", "--help")
    assert "hessian-dynamics" in shown.stdout, shown.stderr
    planned = installed("hessian-dynamics", "plan", "quickstart", "--engine", "local")
    assert planned.returncode == 0, planned.stderr
    assert "0 of 12 trials done" in planned.stdout

    small = [f"--set={change}" for change in ("epochs=1", "seed=[0]", "batch_size=[32]")]
    ran = installed("hessian-dynamics", "run", "quickstart", *small, "--engine", "local")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (sweep,) = (installed.folder / "results" / "sweeps").iterdir()
    reported = installed("hessian-dynamics", "report", sweep.name)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    assert "<style>" in (sweep / "report" / "report.html").read_text()
