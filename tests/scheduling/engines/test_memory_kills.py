"""The kernel's count of processes killed for memory."""

from pathlib import Path

from orchestrator.scheduling.engines.memory_kills import memory_kills


def test_counters_are_summed_and_missing_ones_ignored(tmp_path: Path) -> None:
    machine, group = tmp_path / "vmstat", tmp_path / "memory.events"
    machine.write_text("pgfault 900\noom_kill 2\noom_kill_disable 7\n")
    group.write_text("low 0\noom 9\noom_kill 3\noom_group_kill 0\n")
    assert memory_kills((str(machine), str(group), str(tmp_path / "none"))) == 5
    assert memory_kills((str(tmp_path / "none"),)) == 0


def test_memory_kills_are_readable_on_this_machine() -> None:
    assert memory_kills() >= 0
