"""Interleaved timing, and ratios with their intervals."""

import pytest

from benchmarks.harness import timing
from benchmarks.harness.timing import fastest, interleaved, ratio


def test_tasks_alternate_in_varying_order() -> None:
    called: list[tuple[str, int]] = []
    tasks = {name: lambda number, name=name: called.append((name, number)) for name in "abc"}
    samples = interleaved(tasks, rounds=4)
    assert "".join(name for name, _ in called) == "abcbcacababc"
    assert [number for _, number in called] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert {name: len(taken) for name, taken in samples.items()} == {"a": 4, "b": 4, "c": 4}
    assert all(sample >= 0 for taken in samples.values() for sample in taken)


def test_on_sample_is_called_for_every_sample() -> None:
    seen: list[tuple[str, int]] = []
    interleaved(
        {"a": lambda number: None}, rounds=2, on_sample=lambda name, number, sample: seen.append((name, number))
    )
    assert seen == [("a", 0), ("a", 1)]


def test_samples_are_differences_of_the_given_clock() -> None:
    times = iter([1.0, 4.0, 10.0, 12.0])
    assert interleaved({"a": lambda number: None}, rounds=2, clock=lambda: next(times)) == {"a": [3.0, 2.0]}


def test_ratio_is_computed_from_the_medians() -> None:
    found = ratio([2.0, 100.0, 4.0], [1.0, 2.0, 3.0])
    assert found.value == 4.0 / 2.0
    assert found.low <= found.value <= found.high


def test_disturbances_of_both_samples_do_not_widen_the_interval() -> None:
    ours = [1.0, 5.0, 2.0, 9.0]
    found = ratio([3 * sample for sample in ours], ours)
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))


def test_interval_of_two_rounds_is_the_range() -> None:
    found = ratio([2.0, 6.0], [1.0, 2.0])
    assert (found.low, found.high) == (2.0, 3.0)
    assert str(found) == "2.67 (2.00-3.00)"


def test_the_same_samples_give_the_same_interval() -> None:
    theirs, ours = [3.1, 2.9, 3.5, 2.2, 3.0], [1.0, 1.2, 0.9, 1.1, 1.3]
    assert ratio(theirs, ours) == ratio(theirs, ours)


@pytest.mark.parametrize(("theirs", "ours"), [([1.0], [1.0, 2.0]), ([], [])])
def test_unequal_rounds_are_an_error(theirs: list[float], ours: list[float]) -> None:
    with pytest.raises(ValueError, match=f"{len(theirs)} and {len(ours)} samples; expected equally many"):
        ratio(theirs, ours)


def test_fastest_task_has_the_smallest_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "seconds", lambda task, clock: task())
    times = {"a": iter([3.0, 2.0]), "b": iter([1.0, 9.0])}
    name, samples = fastest({task: lambda task=task: next(times[task]) for task in times})
    assert name == "b"
    assert samples == {"a": [3.0, 2.0], "b": [1.0, 9.0]}
