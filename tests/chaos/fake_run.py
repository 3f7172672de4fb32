"""`hessian-dynamics` with fake trials: everything except the training is real."""

import functools
import os
import sys

from benchmarks.sweeps.fake_trial import FakeTrial
from orchestrator.cli import main
from orchestrator.scheduling import driver

EPOCH_SECONDS = "HESSIAN_DYNAMICS_CHAOS_EPOCH_SECONDS"


if __name__ == "__main__":
    seconds = float(os.environ.get(EPOCH_SECONDS, "0"))
    driver.TrainingJob = functools.partial(FakeTrial, epoch_seconds=seconds)  # type: ignore[assignment, misc]
    driver.prepare = lambda *arguments: None
    driver._store_gallery = lambda *arguments: None
    sys.exit(main())
