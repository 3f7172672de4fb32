"""Short unique names of runs, and descriptions of what a sweep varies."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.study.sweep import Sweep, define_sweep, load_sweep
from orchestrator.tracking.runs.run_names import description, run_names, trial_description
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import Shown, sweep, trained

TRIAL: dict[str, Any] = {"data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 2}


def defined(**grid: Any) -> Sweep:
    return define_sweep("toy", trial=TRIAL, **({"grid": grid} if grid else {}))


def names(**grid: Any) -> list[str]:
    return list(run_names(defined(**grid)).values())


def test_a_name_has_what_the_sweep_varies() -> None:
    optimizers = [{"name": "sgd", "lr": 0.05}, {"name": "adam", "lr": 0.001}]
    assert names(optimizer=optimizers, batch_size=[64], seed=[0, 1]) == [
        "sgd lr 0.05 s0",
        "sgd lr 0.05 s1",
        "adam lr 0.001 s0",
        "adam lr 0.001 s1",
    ]
    assert names(batch_size=[64, "full"]) == ["b64", "batch_size full"]
    assert names(model=[{"name": "mlp", "hidden": [8, 4]}, {"name": "mlp", "hidden": [8]}]) == [
        "hidden 8+4",
        "hidden 8",
    ]


def test_lengths_are_left_out_if_names_are_unique_without_them() -> None:
    rates = [{"optimizer.lr": [0.1], "epochs": [1]}, {"optimizer.lr": [0.2], "epochs": [2]}]
    toy = define_sweep("toy", trial=TRIAL, grid=rates)
    assert list(run_names(toy).values()) == ["lr 0.1", "lr 0.2"]


def test_the_only_trial_is_named_after_its_parts() -> None:
    assert names() == ["cnn digits sgd"]


def test_equal_names_get_the_ids_of_their_trials() -> None:
    model = [{"name": "nets:Net"}, {"name": "other.nets:Net"}, {"name": "nets:Small"}]
    toy = defined(model=model)
    first, second, _ = toy.by_id
    assert list(run_names(toy).values()) == [f"Net {first}", f"Net {second}", "Small"]
    near = names(**{"optimizer.lr": [0.12345, 0.123451]})
    assert len(set(near)) == 2
    assert all(name.startswith("lr 0.123") for name in near)


@pytest.mark.parametrize("name", ["paper", "optimizers_compared", "quickstart", "edge_of_stability"])
def test_names_of_shipped_sweeps_are_short_and_unique(name: str) -> None:
    found = run_names(load_sweep(name)).values()
    assert len(set(found)) == len(found)
    assert max(map(len, found)) <= 60


def test_descriptions_list_what_varies() -> None:
    toy = defined(**{"optimizer.lr": [0.1, 0.2], "seed": list(range(12))})
    assert description(toy) == (
        "24 trials, which differ in:\n\n- `optimizer.lr`: 0.1, 0.2\n- `seed`: 12 values from 0 to 11"
    )
    assert description(define_sweep("toy", trial=TRIAL, description="Why.")) == "Why.\n\nOne trial."
    trial = toy.trials[0]
    assert trial_description(toy, trial) == (
        f"Trial `{trial.trial_id}` of sweep toy: `optimizer.lr` 0.1, `seed` 0.\n\n"
        f"Rerun: `hessian-dynamics trial toy {trial.trial_id}`"
    )


def test_runs_with_other_names_are_renamed(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1, epochs=1)
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    before = Shown(uri)
    for trial_id, run in before.trials.items():
        before.client.update_run(run.info.run_id, name=f"lr=0.01 {trial_id}")
    ship(storage, "toy", uri)
    after = Shown(uri)
    assert {key: run.info.run_id for key, run in after.trials.items()} == {
        key: run.info.run_id for key, run in before.trials.items()
    }
    assert {key: run.info.run_name for key, run in after.trials.items()} == run_names(desired)
