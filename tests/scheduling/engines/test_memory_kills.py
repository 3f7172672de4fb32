"""The kernel's count of processes killed for memory."""

from pathlib import Path

from orchestrator.scheduling.engines.memory_kills import memory_kills


def test_the_counters_are_added_up_and_absent_ones_left_out(tmp_path: Path) -> None:
    machine, group = tmp_path / "vmstat", tmp_path / "memory.events"
    machine.write_text("pgfault 900\noom_kill 2\noom_kill_disable 7\n")
    group.write_text("low 0\noom 9\noom_kill 3\noom_group_kill 0\n")
    assert memory_kills((str(machine), str(group), str(tmp_path / "none"))) == 5
    assert memory_kills((str(tmp_path / "none"),)) == 0


def test_this_machine_has_a_count() -> None:
    assert memory_kills() >= 0
