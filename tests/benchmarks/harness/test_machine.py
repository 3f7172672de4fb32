"""The description of a machine."""

from benchmarks.harness.machine import describe
from benchmarks.harness.settings import Settings
from tests.benchmarks.machines import MACHINE


def test_slug_has_processor_and_number_of_cores() -> None:
    assert MACHINE.slug == "amd-epyc-7763-64-core-2-cores"
    assert MACHINE.best_gflops == 120.0


def test_describe_this_machine() -> None:
    machine = describe(Settings(scale="tiny", threads=1))
    assert machine.threads == 1
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.best_gflops > 0
