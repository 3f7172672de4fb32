"""The report of a sweep as files of its run."""

from pathlib import Path

from orchestrator.store.storage import Storage
from orchestrator.tracking import labels
from orchestrator.tracking.address import absolute_uri, database_file
from orchestrator.tracking.client import connect, reason
from orchestrator.tracking.links import ship_command
from orchestrator.tracking.sync import storage_id
from orchestrator.tracking.tracked_run import find_runs

FOLDER = "report"


def log_report(storage: Storage, sweep: str, tracking_uri: str, folder: Path) -> str:
    """Stores a report's files with the sweep's run, in the place of an older one. Returns what a person should know.

    A tracker that is away or does not know the sweep loses nothing: the report lies in its folder.

    Raises:
        ValueError: where MLflow cannot track at this URI.
    """
    uri = absolute_uri(tracking_uri)
    ship = ship_command(storage.root, sweep, tracking_uri)
    file = database_file(uri)
    if file and not file.exists():
        return f"not in MLflow: nothing of the sweep is shipped there; {ship}"
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(sweep)
        runs = list(find_runs(client, experiment.experiment_id)) if experiment else []
        ours = storage_id(storage, sweep)
        mine = [r for r in runs if r.tags.get(labels.KIND) == "sweep" and r.tags.get(labels.STORAGE_ID) == ours]
        if not mine:
            return f"not in MLflow: it has no run of the sweep; {ship}"
        client.log_artifacts(mine[0].run_id, str(folder), FOLDER)
    except ModuleNotFoundError as error:
        return f"not in MLflow: {error}"
    except Exception as error:  # whatever MLflow makes of a server's answer
        return f"not in MLflow: {reason(error, uri)}"
    return f"in MLflow: artifact {FOLDER}/ of run {mine[0].name or mine[0].run_id}"
