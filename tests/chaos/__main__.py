"""``python -m tests.chaos [--seed N] [--only NAME] [--trials N]``: the storms of ``make chaos``."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.chaos.storm import run_storm, table

STORMS: dict[str, dict[str, Any]] = {
    "fake-ray": {"faults": 32, "trials": 300, "epochs": 10, "epoch_seconds": 0.15},
    "fake-local": {"faults": 24, "trials": 300, "epochs": 10, "epoch_seconds": 0.1},
    "real-ray": {"faults": 10, "trials": 40, "epochs": 40, "epoch_seconds": 0.0},
    "real-local": {"faults": 10, "trials": 40, "epochs": 40, "epoch_seconds": 0.0},
}


def main() -> None:
    """Runs one storm after the other and prints a table. The exit code is 1 if there was any damage."""
    parser = argparse.ArgumentParser(
        "python -m tests.chaos", description="Injects faults into sweeps and compares them with undisturbed ones."
    )
    parser.add_argument("--seed", type=int, default=0, help="decides the faults and their order")
    parser.add_argument("--only", choices=list(STORMS), action="append", help="one storm; may be repeated")
    parser.add_argument(
        "--trials", type=int, help="trials of each sweep; with fewer, a storm is shorter and has fewer faults"
    )
    given = parser.parse_args()
    storms = []
    for name in given.only or STORMS:
        kind, engine = name.split("-")
        options = STORMS[name] | ({"trials": given.trials} if given.trials else {})
        with tempfile.TemporaryDirectory(prefix="hessian-dynamics-storm-") as folder:
            storms.append(run_storm(Path(folder), kind, engine, seed=given.seed, say=_say, **options))  # type: ignore[arg-type]
        _say(table(storms))
    sys.exit(any(storm.damage.lines or storm.hangs for storm in storms))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
