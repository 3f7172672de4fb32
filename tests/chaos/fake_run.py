"""`hessian-dynamics` with fake trials: everything except the training is real."""

import os
import sys

from benchmarks.sweeps.fake_trial import FakeTrial
from orchestrator.cli import main
from orchestrator.scheduling import driver

EPOCH_SECONDS = "HESSIAN_DYNAMICS_CHAOS_EPOCH_SECONDS"


def work(storage_root: str, sweep: str, lease: int) -> FakeTrial:
    """Replaces `TrainingJob`."""
    return FakeTrial(storage_root, sweep, lease, epoch_seconds=float(os.environ.get(EPOCH_SECONDS, "0")))


if __name__ == "__main__":
    driver.TrainingJob = work  # type: ignore[assignment, misc]
    driver.prepare = lambda *arguments: None
    driver._store_gallery = lambda *arguments: None
    sys.exit(main())
