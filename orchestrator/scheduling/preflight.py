"""The driver's checks of cluster nodes. `checks` implements them and the command line passes them in."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from orchestrator.store.ownership.lease import Lease
from orchestrator.store.storage import Storage
from orchestrator.study.parts.data_config import Data


class UnfitError(RuntimeError):
    """The node must not run the driver's trials. The trial itself is fine and can run on another node."""


class Requirements(Protocol):
    """Requirements of a trial on its node. Sent to the workers by pickle."""

    def check(self, storage: Storage) -> None:
        """Raises UnfitError if the software or storage of this node differs from the driver's."""

    def check_data(self, config: Data, digest: str) -> None:
        """Raises UnfitError if a data set on this node differs from the driver's."""


class Preflight(Protocol):
    """Checks the nodes of a Ray cluster before and while trials run there."""

    def check_nodes(self, storage: Storage, data: Iterable[Data]) -> None:
        """Raises UnfitNodesError, a ValueError, if a node of the connected cluster cannot run trials."""

    def requirements(self, sweep: str, lease: Lease, digests: Mapping[Data, str]) -> Requirements:
        """Returns the driver's software, lease and data. Workers compare them with their own before each trial."""
        ...
