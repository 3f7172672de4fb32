"""Options of a run, chosen by the caller of the driver."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from orchestrator.scheduling.preflight import Preflight

EngineName = Literal["ray", "local"]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run."""

    engine: EngineName = "ray"
    """``ray``, or ``local`` for plain processes on this machine."""
    address: str | None = None
    """Address of a Ray cluster; None starts Ray on this machine."""
    max_concurrent: int | None = None
    """Maximum number of trials at a time; None runs as many as fit."""
    budget_seconds: float | None = None
    """Trials are asked to stop after their next record once this time has passed."""
    verify: bool = False
    """Read every stored record first, so that all damaged ones are computed again."""
    accept_changed_code: bool = False
    """Keep and continue stored trials although the user's own code changed since."""
    preflight: Preflight | None = None
    """Checks the nodes of a cluster; None trusts them."""
    on_manifest: Callable[[], None] = lambda: None
    """Called after the sweep's manifest has been written."""
    before_trials: Callable[[], None] = lambda: None
    """Called once the engine is up, before the first trial is scheduled."""

    @property
    def on_cluster(self) -> bool:
        """Whether trials run on an existing Ray cluster."""
        return self.engine == "ray" and self.address not in (None, "local")
