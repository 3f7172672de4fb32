"""What is said of a tracker that goes and comes back."""

import pytest

from orchestrator.tracking import outage
from orchestrator.tracking.outage import TOLD_OUTAGES, Outage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(outage.time, "monotonic", lambda: now[0])
    return now


def gone(spell: Outage) -> None:
    spell.begins(lambda: "gone")


def back(spell: Outage) -> None:
    spell.ends(lambda: "back")


def test_one_line_when_it_goes_and_one_when_it_is_back(clock: list[float]) -> None:
    lines: list[str] = []
    spell = Outage(lines.append, 0.7)
    back(spell)
    for _ in range(100):
        gone(spell)
        clock[0] += 20
    back(spell)
    back(spell)
    assert lines == ["gone", "back"]


def test_pauses_grow_to_ten_seconds(clock: list[float]) -> None:
    spell = Outage(lambda line: None, 0.7)
    pauses = []
    for _ in range(2000):
        gone(spell)
        pauses.append(spell.pause)
    assert pauses[:5] == pytest.approx([0.7, 1.4, 2.8, 5.6, 10.0])
    assert set(pauses[4:]) == {10.0}
    back(spell)
    gone(spell)
    assert spell.pause == 0.7


def test_coming_and_going_is_told_three_times_in_ten_minutes(clock: list[float]) -> None:
    lines: list[str] = []
    spell = Outage(lines.append, 0.7)
    for _ in range(20):
        gone(spell)
        back(spell)
        clock[0] += 10
    end = "; it comes and goes, of which no more is said for 10 minutes"
    assert lines == ["gone", "back"] * (TOLD_OUTAGES - 1) + [f"gone{end}", "back"]
    clock[0] = 601
    gone(spell)
    back(spell)
    assert len(lines) == 2 * TOLD_OUTAGES + 2


def test_a_long_outage_after_much_coming_and_going_is_told_in_the_end(clock: list[float]) -> None:
    lines: list[str] = []
    spell = Outage(lines.append, 0.7)
    for _ in range(TOLD_OUTAGES):
        gone(spell)
        back(spell)
    lines.clear()
    gone(spell)
    assert lines == []
    clock[0] = 601
    gone(spell)
    gone(spell)
    back(spell)
    assert lines == ["gone", "back"]
