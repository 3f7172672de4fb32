"""Table and figure of the scaling benchmark."""

from pathlib import Path

from benchmarks.harness.machine import Machine
from benchmarks.harness.results import Result
from benchmarks.sweeps import scaling
from benchmarks.sweeps.scaling import TrialStart

MACHINE = Machine("some", 2, 2, 16.0, "Linux", 0.1, {"512": 90.0})


def result(measured: dict[str, object]) -> Result:
    return Result("scaling", "2026-11-24T10:00:00+00:00", None, "full", "none", {}, MACHINE, measured)


def case(nodes: int, trials: int, seconds: float) -> dict[str, object]:
    least = scaling.least_seconds(nodes, trials, 2, 4.0)
    found = {"nodes": nodes, "trials": trials, "slots": 2 * nodes, "seconds": seconds, "least": least}
    return {"load": 0.5, "found": {**found, "first_after": 5.0, "driver_cpu_seconds": 1.5}}


def test_ideal_time_is_the_number_of_rounds_times_the_duration_of_a_trial() -> None:
    assert scaling.least_seconds(nodes=1, trials=100, slots=2, trial_seconds=4.0) == 200.0
    assert scaling.least_seconds(nodes=8, trials=100, slots=2, trial_seconds=4.0) == 28.0


def test_starts_are_sorted_by_time(tmp_path: Path) -> None:
    (tmp_path / "starts").mkdir()
    for name in ("t1 12.5 node", "t0 3.25 other"):
        (tmp_path / "starts" / name).touch()
    assert scaling.starts(tmp_path) == [
        TrialStart("t0", 3.25, "other"),
        TrialStart("t1", 12.5, "node"),
    ]


def test_table_shows_efficiency_and_delay_after_a_node_loss() -> None:
    lost = {"load": 0.1, "found": [{"seconds": 5.04, "epochs": 60}, {"seconds": 6.0, "epochs": 60}]}
    measured = {"slots": 2, "trial_seconds": 4.0, "8x100": case(8, 100, 35.0), "1x100": case(1, 100, 250.0)}
    shown = scaling.table(result({**measured, "loss": lost}))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines()[2:4]]
    assert [row[:2] for row in rows] == [["1", "100"], ["8", "100"]]
    assert [row[5] for row in rows] == ["80.0%", "80.0%"]
    assert rows[0][7] == "15.0"
    assert "started on the other node after 5.0, 6.0 s." in shown
    assert "loss" not in scaling.table(result(measured))


def test_figure_is_reproducible(tmp_path: Path) -> None:
    measured = {"slots": 2, "trial_seconds": 4.0, "1x100": case(1, 100, 250.0), "8x1000": case(8, 1000, 300.0)}
    for name in ("a", "b"):
        scaling.figure(result(measured), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "1,000 trials" in (tmp_path / "a").read_text()
