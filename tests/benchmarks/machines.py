"""A machine and a result for the tests of tables."""

from benchmarks.harness.machine import Machine
from benchmarks.harness.results import Result

MACHINE = Machine("AMD EPYC(tm) 7763 64-Core Processor", 2, 2, 16.0, "Linux", 0.1, {"512": 90.0, "1024": 120.0})


def result(benchmark: str = "one", machine: Machine = MACHINE) -> Result:
    return Result(
        benchmark, "2026-11-24T10:00:00+00:00", "a" * 40, "full", "random images", {"torch": "2"}, machine, {}
    )
