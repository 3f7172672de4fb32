"""Runs all checks of ``hessian-dynamics doctor``."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.checks.data import check_sweep
from orchestrator.checks.devices import check_cores, check_devices
from orchestrator.checks.finding import Finding, Severity, checked, ok, problem, warning
from orchestrator.checks.nodes import NodeReport, ask_nodes
from orchestrator.checks.software import check_versions
from orchestrator.checks.storage import check_cache, check_old_copies, check_storage
from orchestrator.checks.tracker import check_tracker
from orchestrator.counted import counted
from orchestrator.scheduling.engines.ray import check_reachable, cluster
from orchestrator.scheduling.placement import Node, NoRoomError, refuse_oversized, resolved
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep


@dataclass(frozen=True)
class Subject:
    """The storage, tracker, cluster and sweep to check."""

    storage: Storage
    tracking_uri: str
    ray_address: str | None = None
    load: Callable[[], Sweep] | None = None
    """Loads the sweep whose data and networks are also checked."""
    ask_cluster: bool = False
    """Also check every node of the cluster, which creates and removes files in the storage."""


def examine(subject: Subject) -> Iterator[Finding]:
    """Yields the findings of all checks as they complete."""
    yield from check_versions()
    sweep, findings = _load_sweep(subject.load)
    yield from check_cores(sweep)
    yield from check_devices()
    yield from check_cache()
    yield from check_old_copies()
    yield from findings
    if sweep:
        yield from check_sweep(sweep)
    yield check_storage(subject.storage)
    yield check_tracker(subject.tracking_uri)
    if address := subject.ray_address:
        reachable = checked("ray", lambda: check_reachable(address))
        yield reachable
        if subject.ask_cluster and reachable.severity is Severity.OK:
            yield from _nodes(subject.storage, address, sweep)


def _load_sweep(load: Callable[[], Sweep] | None) -> tuple[Sweep | None, list[Finding]]:
    if load is None:
        return None, []
    try:
        sweep = load()
    except (ValueError, OSError) as error:
        return None, [problem("sweep", error)]
    return sweep, [ok("sweep", f"{sweep.name}: {counted(len(sweep.trials), 'trial')}")]


def _nodes(storage: Storage, address: str, sweep: Sweep | None) -> Iterator[Finding]:
    try:
        with cluster(address):
            from orchestrator.scheduling.engines.ray_nodes import fixed_size  # imports Ray

            reports = ask_nodes(storage, dict.fromkeys(trial.data for trial in sweep.trials) if sweep else ())
            placed = list(placement_findings(reports, sweep, fixed_size))
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        yield problem("ray", error)
        return
    for report in reports:
        yield from node_findings(report)
    yield from placed


def node_findings(report: NodeReport) -> Iterator[Finding]:
    """Yields one finding for each fault of a node, or one that summarises the checks if it has none."""
    faults = [finding for finding in report.findings if finding.severity is not Severity.OK]
    for fault in faults:
        yield Finding("node", fault.severity, f"{report.name}: {fault.subject}: {fault.text}", fault.fix)
    if not faults:
        yield ok("node", f"{report.name}: {'; '.join(finding.text for finding in report.findings)}")


def placement_findings(
    reports: Sequence[NodeReport], sweep: Sweep | None, fixed_size: Callable[[], bool]
) -> Iterator[Finding]:
    """Yields a finding if no node is large enough for a trial: a warning if the cluster can grow, else a problem."""
    nodes = [Node(report.name, report.cpus, report.gpus, report.memory_gib) for report in reports]
    try:
        refuse_oversized(resolved(sweep.resources if sweep else Resources(), nodes), nodes)
    except NoRoomError as error:
        yield problem("ray", error) if fixed_size() else warning("ray", f"{error}; trials wait until a node joins")
