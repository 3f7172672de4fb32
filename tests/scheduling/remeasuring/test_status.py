"""The state of a remeasurement, derived from the store."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.scheduling.remeasuring.change import read_change
from orchestrator.scheduling.remeasuring.status import remeasured_lines, shortcomings, sweep_remeasurement
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import commit_epochs
from tests.store.stored import remeasured
from tests.training.trials import small_trial

FIRST, SECOND = (small_trial(epochs=4, seed=seed) for seed in (0, 1))
ALREADY = small_trial(epochs=4, seed=2, measurement={"fraction": 0.1})


def stored(folder: Path, epochs: dict[TrialConfig, Iterable[int]]) -> tuple[Sweep, Storage]:
    storage = Storage(folder)
    sweep = Sweep("night", "", tuple(epochs), Resources(), "all")
    storage.sweep("night").write_manifest(sweep, capture())
    for config, committed in epochs.items():
        if committed:
            commit_epochs(storage.trial(config.trial_id), committed)
    return sweep, storage


def test_each_trial_is_compared_with_its_checkpoints(tmp_path: Path) -> None:
    sweep, storage = stored(tmp_path, {FIRST: range(5), SECOND: (), ALREADY: range(5)})
    change = read_change(["measurement.fraction=0.1"], sweep)
    storage.trial(FIRST.trial_id).remeasurements.add(change.label, remeasured(0))
    state = sweep_remeasurement(sweep, storage, change, every=1)
    assert list(state.trials) == [FIRST.trial_id, SECOND.trial_id]
    assert (state.unchanged, state.measured) == (1, 1)
    assert state.without_checkpoint == [SECOND.trial_id]
    assert state.missing == sum(len(state.due_numbers(trial_id)) for trial_id in state.todo)
    assert shortcomings(state, every=1) == [
        f"not begun: {SECOND.trial_id}; hessian-dynamics run night trains what is missing"
    ]
    assert remeasured_lines(sweep, storage) == [f"measured again: {change.label}: 1 checkpoint of 1 trial"]
