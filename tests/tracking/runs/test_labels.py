"""Names, params and tags of runs."""

from pathlib import Path

from orchestrator.tracking.shipper import ship
from tests.tracking.stored import DIGEST, Shown, sweep, trained


def test_a_run_shows_the_trial_and_its_provenance(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    shown = Shown(uri)
    for trial_id, config in desired.by_id.items():
        run = shown.trials[trial_id]
        changeable = {"epochs": "3"}
        assert set(run.data.params) | set(changeable) == set(config.flat())
        assert run.data.params["optimizer.lr"] == str(config.optimizer.lr)
        assert run.data.params["measurement.estimators"] == "lanczos, algorithm1"
        expected = {
            "trial_id": trial_id,
            "sweep": "toy",
            "kind": "trial",
            "outcome": "completed",
            "data_digest": DIGEST,
            "mlflow.source.git.commit": "abc123",
            "mlflow.source.name": "hessian-dynamics run toy",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": "me",
            "host": "cluster",
            "device": "cpu",
            "threads": "2",
            **changeable,
        }
        assert {key: run.data.tags.get(key) for key in expected} == expected
        assert f"hessian-dynamics trial toy {trial_id}" in run.data.tags["mlflow.note.content"]
        assert run.info.run_name == f"lr={config.optimizer.lr} seed={config.seed} {trial_id}"
        assert "mlflow.parentRunId" not in run.data.tags
    assert shown.sweep_run.info.run_name == "toy"
    assert shown.sweep_run.data.tags["mlflow.note.content"] == "Curves that nobody trained."
    assert shown.sweep_run.data.tags["host"] == "driver-host"
    assert shown.sweep_run.data.metrics == {}
    assert shown.experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert shown.experiment.tags["mlflow.note.content"] == "Curves that nobody trained."
    assert shown.sweep_run.info.start_time < min(run.info.start_time for run in shown.trials.values())
