"""The description of quantities that raised."""

from dataclasses import replace

from orchestrator.store.missing_quantities import missing_quantities
from tests.store import stored


def test_each_quantity_is_described_with_its_last_error() -> None:
    failures = {"lab:noise": "Traceback (most recent call last):\nValueError: no samples"}
    records = [stored.record(0), *(replace(stored.record(number), failures=failures) for number in (1, 2))]
    assert missing_quantities(records) == "lab:noise raised at 2 records, last in epoch 2: ValueError: no samples"


def test_nothing_is_said_if_none_raised() -> None:
    assert missing_quantities([stored.record(0)]) is None
