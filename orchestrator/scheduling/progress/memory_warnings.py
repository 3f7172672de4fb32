"""Warns of trials that use more memory than `resources.memory_gib` states."""

import logging
import math
from collections.abc import Iterable

from orchestrator.scheduling.plan import Plan
from orchestrator.study.sweep import Resources

log = logging.getLogger(__name__)


class MemoryWarnings:
    """Logs a warning for each trial whose process has used more memory than it requests, once per trial.

    Args:
        resources: the requested resources.
        trial_ids: the trials of the run. Those that were complete before are not reported again.
    """

    def __init__(self, resources: Resources, trial_ids: Iterable[str]) -> None:
        self._limit = resources.memory_gib or math.inf
        self._unreported = set(trial_ids)

    def update(self, plan: Plan) -> None:
        """Reports the trials whose last record shows that their process has used more."""
        used = {key: (status.memory_mib or 0.0) / 1024 for key, status in plan.statuses.items()}
        for key in [key for key, gib in used.items() if gib > self._limit and key in self._unreported]:
            self._unreported.remove(key)
            log.warning(
                "trial %s: its process has used %.2f GiB of memory, but resources.memory_gib is %g; to run fewer "
                "trials at a time, use --set resources.memory_gib=%g",
                key,
                used[key],
                self._limit,
                math.ceil(10 * used[key]) / 10,
            )
