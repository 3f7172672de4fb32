"""Checks of installed packages, and comparison of a node's software with the driver's."""

import functools
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from orchestrator.checks.finding import Finding, ok, problem, warning
from orchestrator.store.provenance.provenance import COMMIT_VARIABLE, capture

DISTRIBUTION = "hessian-dynamics"
INSTALL = "start the node from the driver's image, or install requirements.lock and the driver's commit there"
_SHOWN = ("torch", "torchvision", "ray", "mlflow", "pandas")
"""Packages whose version is always reported."""
_COMPARED = ("torch", "torchvision", "numpy", "scikit-learn", "ray")
"""Packages whose version can change numbers, data or the protocol between nodes."""


@dataclass(frozen=True)
class Software:
    """Versions of the software of a process."""

    version: str
    commit: str | None
    """The git commit of the code, with suffix ``-dirty`` if it was changed; None if unknown."""
    diff_digest: str | None
    """Digest of the uncommitted changes."""
    python: str
    packages: dict[str, str]

    def differences(self, driver: "Software") -> list[str]:
        """Lists differences from the driver's software: ``torch 2.13.0, expected 2.14.1 as on the driver``."""
        pairs = [
            ("Python", self.python, driver.python),
            *((name, self.packages.get(name), driver.packages.get(name)) for name in _COMPARED),
            (DISTRIBUTION, self.version, driver.version),
        ]
        if self.commit and driver.commit:
            pairs.append(("commit", self.commit, driver.commit))
            if self.commit == driver.commit:
                pairs.append(("uncommitted changes", self.diff_digest, driver.diff_digest))
        return [
            f"{name} {found or 'none'}, expected {expected or 'none'} as on the driver"
            for name, found, expected in pairs
            if _release(found) != _release(expected)
        ]


@functools.cache
def software() -> Software:
    """The software of this process."""
    here = capture()
    packages = {name: here.packages[name] for name in _COMPARED if name in here.packages}
    return Software(here.version, here.commit, here.diff_digest, platform.python_version(), packages)


def check_against_driver(driver: Software) -> Iterator[Finding]:
    """Checks that this process has the driver's software, so that it computes the same numbers."""
    here = software()
    if differences := here.differences(driver):
        yield problem("versions", "; ".join(differences), INSTALL)
        return
    if driver.commit and not here.commit:
        text = f"the node's commit is unknown, expected {driver.commit[:12]} as on the driver"
        yield warning("versions", text, f"set {COMMIT_VARIABLE} there")
    yield ok("versions", f"torch {here.packages.get('torch', 'none')}")


def check_versions() -> Iterator[Finding]:
    """Reports the versions of this program and of Python, and checks the packages that a run needs."""
    here = capture()
    dirty = "-dirty" if (here.commit or "").endswith("-dirty") else ""
    commit = f", commit {here.commit[:12]}{dirty}" if here.commit else ""
    yield ok("versions", f"{DISTRIBUTION} {here.version}{commit}, Python {platform.python_version()}")
    yield from check_packages(metadata.requires(DISTRIBUTION) or [])


def check_packages(requirements: Iterable[str]) -> Iterator[Finding]:
    """Checks that the packages that a run needs are installed and recent enough.

    Args:
        requirements: as in a distribution's metadata, for example ``ray[tune]>=2.59; extra == "sweep"``. Requirements
            of other extras than ``sweep`` are not checked.
    """
    fine = []
    for requirement in map(Requirement, requirements):
        base = _applies(requirement, "")
        if not base and not _applies(requirement, "sweep"):
            continue
        name = requirement.name
        wanted = f"'{name}{requirement.specifier}'" if base else f"'{DISTRIBUTION}[sweep]'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = problem if base else warning  # without an extra, some commands still work
            yield found("versions", f"{name} is not installed", f"pip install {wanted}")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            text = f"{name} {version} is too old, {requirement.specifier} is needed"
            yield problem("versions", text, f"pip install --upgrade {wanted}")
        elif name in _SHOWN:
            fine.append(f"{name} {version}")
    yield ok("versions", ", ".join(fine) or "no packages")


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _release(version: str | None) -> str | None:
    """Removes the local part, since torch's wheels for CPUs (2.14.1+cpu) and GPUs are the same release."""
    return version.partition("+")[0] if version else version
