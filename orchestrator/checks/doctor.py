"""Checks before a run what would stop it or surprise its user, and says what to do. Changes nothing."""

import importlib
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from rich.text import Text

from orchestrator.checks.node_fitness import Weight
from orchestrator.checks.nodes import NodeReport, ask_nodes
from orchestrator.scheduling.engines.ray import check_reachable, cluster
from orchestrator.store.errors import StorageError
from orchestrator.store.medium import examine as examine_medium
from orchestrator.store.medium import examine_storage
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.study.data_config import Data
from orchestrator.study.sweep import Sweep
from orchestrator.tracking.look import look

OURS = "hessian-dynamics"
_SHOWN_PACKAGES = ("torch", "torchvision", "ray", "mlflow", "pandas")
"""Whose versions are worth a look where they are right; of the others only what is wrong is said."""


class Mark(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Runs go on, but less well, or something will have to be done first."""
    PROBLEM = "problem"
    """A run would fail."""

    @property
    def style(self) -> str:
        """Its colour."""
        return {"ok": "green", "warning": "yellow", "problem": "red"}[self.value]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. Where it is not ok, the text says what to do."""

    subject: str
    mark: Mark
    text: str

    def shown(self) -> Text:
        """As a line of a terminal."""
        return Text.assemble((f"{self.mark:<7}", self.mark.style), f"  {self.subject:<8}  {redacted(self.text)}")


def examine(
    storage: Storage,
    tracking_uri: str,
    ray_address: str | None,
    load: Callable[[], Sweep] | None = None,
    ask_cluster: bool = False,
) -> Iterator[Check]:
    """Everything a run needs, one check after the other as it is found.

    Args:
        storage: where results are to go.
        tracking_uri: where MLflow lies.
        ray_address: of a cluster, where there is one.
        load: gives the sweep that is to be run, whose data and models are checked too.
        ask_cluster: whether each node of the cluster is asked; that writes a file into the storage and removes it.
    """
    yield from _versions()
    sweep, checks = _sweep(load)
    yield from _devices(sweep)
    yield from _cache()
    yield from checks
    if sweep:
        yield from map(_data, dict.fromkeys(trial.data for trial in sweep.trials))
        names = dict.fromkeys(trial.model.name for trial in sweep.trials)
        yield from (_own_model(name) for name in names if ":" in name)
    yield from _storage(storage)
    yield _tracker(tracking_uri)
    if ray_address:
        reachable = _checked("ray", lambda: check_reachable(ray_address))
        yield reachable
        if ask_cluster and reachable.mark is Mark.OK:
            yield from _nodes(storage, ray_address, sweep)


def summary(checks: Iterable[Check]) -> str:
    """``11 ok, 1 warning, 0 problems``."""
    counts = Counter(check.mark for check in checks)
    warnings, problems = counts[Mark.WARNING], counts[Mark.PROBLEM]
    plurals = ["" if count == 1 else "s" for count in (warnings, problems)]
    return f"{counts[Mark.OK]} ok, {warnings} warning{plurals[0]}, {problems} problem{plurals[1]}"


def _checked(subject: str, look_at: Callable[[], str]) -> Check:
    try:
        return Check(subject, Mark.OK, look_at())
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        return Check(subject, Mark.PROBLEM, str(error) or type(error).__name__)


def _versions() -> Iterator[Check]:
    here = capture()
    changed = "-dirty" if (here.commit or "").endswith("-dirty") else ""
    commit = f", commit {here.commit[:12]}{changed}" if here.commit else ""
    yield Check("versions", Mark.OK, f"{OURS} {here.version}{commit}, Python {platform.python_version()}")
    yield from packages(metadata.requires(OURS) or [])


def packages(requirements: Iterable[str]) -> Iterator[Check]:
    """Whether the packages that requirements ask for are here and new enough.

    Args:
        requirements: as in a distribution's metadata, ``ray[tune]>=2.59; extra == "sweep"``; only what a run needs is
            looked at, not what tests need.
    """
    fine = []
    for requirement in requirements:
        name, least, extra = _parsed(requirement)
        if extra not in ("", "sweep"):
            continue
        install = f"pip install '{OURS}[{extra}]'" if extra else f"pip install '{name}{f'>={least}' if least else ''}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            mark = Mark.WARNING if extra else Mark.PROBLEM
            yield Check("versions", mark, f"{name} is not installed: {install}")
            continue
        if _numbers(version) < _numbers(least):
            upgrade = install.replace("install", "install --upgrade", 1)
            yield Check("versions", Mark.PROBLEM, f"{name} {version} is too old, {least} is needed: {upgrade}")
        elif name in _SHOWN_PACKAGES:
            fine.append(f"{name} {version}")
    yield Check("versions", Mark.OK, ", ".join(fine) or "no packages")


def _parsed(requirement: str) -> tuple[str, str, str]:
    """Name, least version and extra; the latter two empty where there is none."""
    what, _, condition = requirement.partition(";")
    name, least = re.match(r"\s*([\w.-]+)", what), re.search(r">=\s*([\w.]+)", what)
    extra = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", condition)
    assert name, requirement
    return name[1], least[1] if least else "", extra[1] if extra else ""


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _devices(sweep: Sweep | None) -> Iterator[Check]:
    try:
        from orchestrator.training.devices import check_product, describe_gpu, gpus, memory_bytes, usable_cores
    except ImportError as error:
        yield Check("devices", Mark.PROBLEM, f"torch cannot be imported ({error}): pip install --force-reinstall torch")
        return
    import torch

    cores, usable, memory = os.cpu_count() or 1, usable_cores(), memory_bytes()
    said = f"{cores} cores, {usable} usable"
    said += f", {memory[0] / 2**30:.1f} GiB of memory, {memory[1] / 2**30:.1f} free" if memory else ""
    if usable < cores:
        threads = sweep.resources.cpu if sweep else 1
        said += f"; so many trials at a time fit: --max-concurrent {max(1, usable // threads)}"
    yield Check("devices", Mark.WARNING if usable < cores else Mark.OK, said)
    for device in (torch.device("cpu"), *gpus()):

        def product(device: torch.device = device) -> str:
            check_product(device)
            return f"{device}: {'' if device.type == 'cpu' else f'{describe_gpu(device)}, '}torch computes there"

        yield _checked("devices", product)
    if not gpus() and sweep and sweep.resources.gpu > 0:
        text = f"no GPU that torch can use, and sweep {sweep.name!r} asks for gpu: {sweep.resources.gpu}"
        yield Check(
            "devices", Mark.WARNING, f"{text}; --engine local computes on the CPU, Ray waits: --set resources.gpu=0"
        )


def _cache() -> Iterator[Check]:
    try:
        from orchestrator.training.data.cache import CACHE_VARIABLE, cache_folder, earlier_copies
    except ImportError:  # torch, of which was said enough
        return
    folder = cache_folder()
    try:
        medium = examine_medium(folder)
    except StorageError as error:
        yield Check("cache", Mark.PROBLEM, f"decoded data goes to {folder}: {error}; set {CACHE_VARIABLE} to it")
        return
    hint = f"; little for decoded data, {CACHE_VARIABLE} names another folder" if medium.little else ""
    yield Check("cache", Mark.WARNING if medium.little else Mark.OK, f"{folder}: {medium}{hint}")
    if unread := earlier_copies():
        size = sum(path.stat().st_size for copy in unread for path in copy.iterdir()) / 2**30
        text = f"{len(unread)} decoded by other versions, {size:.1f} GiB, which this one does not read"
        yield Check("cache", Mark.OK, f"{text}; to make room: rm -rf {' '.join(map(str, unread))}")


def _sweep(load: Callable[[], Sweep] | None) -> tuple[Sweep | None, list[Check]]:
    if load is None:
        return None, []
    try:
        sweep = load()
    except (ValueError, OSError) as error:
        return None, [Check("sweep", Mark.PROBLEM, str(error))]
    return sweep, [
        Check("sweep", Mark.OK, f"{sweep.name}: {len(sweep.trials)} trial{'' if len(sweep.trials) == 1 else 's'}")
    ]


def _data(config: Data) -> Check:
    try:
        from orchestrator.training.data.datasets import available

        state = available(config)
    except ImportError as error:
        return Check("data", Mark.PROBLEM, f"{config.name}: {error}")
    if "not usable: " in state:
        return Check("data", Mark.PROBLEM, state.replace("not usable: ", ""))
    return Check("data", Mark.WARNING if "absent" in state else Mark.OK, state)


def _own_model(name: str) -> Check:
    module, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever the user's code raises
        text = f"{name} cannot be imported ({type(error).__name__}: {error}); run from the folder it is imported from"
        return Check("model", Mark.PROBLEM, text)
    if not isinstance(found, type):
        return Check("model", Mark.PROBLEM, f"{name}: {module} has no class {attribute!r}")
    return Check("model", Mark.OK, f"{name} can be imported; a run executes its code")


def _storage(storage: Storage) -> Iterator[Check]:
    try:
        medium = examine_storage(storage.files)
        sweeps = storage.sweeps()
    except StorageError as error:
        yield Check("storage", Mark.PROBLEM, str(error))
        return
    there = f"{len(sweeps)} sweep{'' if len(sweeps) == 1 else 's'} there" if medium.exists else "no sweeps yet"
    hint = "; little for checkpoints: make room, or give another folder with --storage" if medium.little else ""
    yield Check("storage", Mark.WARNING if medium.little else Mark.OK, f"{storage.root}: {medium}, {there}{hint}")


def _tracker(uri: str) -> Check:
    try:
        return Check("tracker", Mark.OK, look(uri))
    except ModuleNotFoundError as error:
        return Check("tracker", Mark.WARNING, f"{error}; a run goes on without")
    except (ValueError, OSError) as error:
        return Check("tracker", Mark.PROBLEM, str(error))


def _nodes(storage: Storage, address: str, sweep: Sweep | None) -> Iterator[Check]:
    try:
        with cluster(address):
            reports = ask_nodes(storage, dict.fromkeys(trial.data for trial in sweep.trials) if sweep else ())
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        yield Check("ray", Mark.PROBLEM, str(error) or type(error).__name__)
        return
    for report in reports:
        yield from _node(report)
    if not any(_fits(report, sweep) for report in reports):
        wanted = f"{sweep.resources.cpu} CPUs and {sweep.resources.gpu:g} GPUs" if sweep else "CPUs"
        yield Check("ray", Mark.WARNING, f"no node offers {wanted} to a trial: they wait until one joins")


def _node(report: NodeReport) -> Iterator[Check]:
    amiss = [finding for finding in report.findings if finding.weight is not Weight.OK]
    for finding in amiss:
        yield Check("node", Mark(finding.weight), f"{report.name}: {finding.subject}: {finding.text}")
    if not amiss:
        yield Check("node", Mark.OK, f"{report.name}: {'; '.join(finding.text for finding in report.findings)}")


def _fits(report: NodeReport, sweep: Sweep | None) -> bool:
    return sweep is None or (report.cpus >= sweep.resources.cpu and report.gpus >= sweep.resources.gpu)
