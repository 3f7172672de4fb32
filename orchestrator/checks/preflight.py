"""The checks of cluster nodes that the command line passes to the driver."""

from collections.abc import Iterable, Mapping

from orchestrator.checks.node_fitness import DriverState
from orchestrator.checks.nodes import ask_nodes, refuse_unfit
from orchestrator.checks.software import software
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.storage import Storage
from orchestrator.study.parts.data_config import Data


class ClusterPreflight:
    """Implements `scheduling.preflight.Preflight`."""

    def check_nodes(self, storage: Storage, data: Iterable[Data]) -> None:
        """Raises UnfitNodesError if a node of the connected cluster cannot run trials."""
        refuse_unfit(ask_nodes(storage, data))

    def requirements(self, sweep: str, lease: Lease, digests: Mapping[Data, str]) -> DriverState:
        """Returns the driver's software, lease and data, which workers compare with their own."""
        return DriverState(software(), sweep, lease.number, lease.token, dict(digests))
