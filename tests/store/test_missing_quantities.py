"""The description of quantities that raised."""

from dataclasses import replace

from orchestrator.store.missing_quantities import missing_in_sweep, missing_quantities
from orchestrator.study.record import Record
from tests.store import stored


def test_each_quantity_is_described_with_its_last_error() -> None:
    failures = {"lab:noise": "Traceback (most recent call last):\nValueError: no samples"}
    records = [stored.record(0), *(replace(stored.record(number), failures=failures) for number in (1, 2))]
    assert missing_quantities(records) == "lab:noise raised at 2 records, last in epoch 2: ValueError: no samples"


def test_nothing_is_said_if_none_raised() -> None:
    assert missing_quantities([stored.record(0)]) is None


def test_a_sweep_has_a_line_per_quantity_with_the_latest_error() -> None:
    def failing(number: int, **failures: str) -> Record:
        raised = {f"lab:{name}": f"Traceback\nValueError: {text}" for name, text in failures.items()}
        return replace(stored.record(number), timestamp_ms=number, failures=raised)

    records = {"one": [failing(1, noise="old"), failing(9, noise="new")], "two": [failing(2, noise="old", scale="no")]}
    assert missing_in_sweep(records) == [
        "lab:noise raised at 3 records of 2 trials, last in one: ValueError: new",
        "lab:scale raised at 1 record of 1 trial, last in two: ValueError: no",
    ]
    assert missing_in_sweep({"one": [stored.record(0)]}) == []
