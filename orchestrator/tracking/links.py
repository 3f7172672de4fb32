"""The link to a sweep's curves, and the command that ships a sweep."""

import shlex
from pathlib import Path

from orchestrator.store.backends.location import S3Location
from orchestrator.store.provenance.redaction import redacted
from orchestrator.tracking.address import absolute_uri, database_file, ui_base
from orchestrator.tracking.client import connect
from orchestrator.tracking.runs.chart_view import VIEW


def ship_command(storage_root: Path | S3Location, sweep: str, tracking_uri: str) -> str:
    """Returns the command that ships a sweep. A password in the URI is replaced by ``***``."""
    uri = absolute_uri(tracking_uri)
    command = shlex.join(["hessian-dynamics", "ship", sweep, "--storage", str(storage_root)])
    if redacted(uri) != uri:  # other users of the machine can read command lines
        return f"MLFLOW_TRACKING_URI={shlex.quote(redacted(uri))} {command}"
    return f"{command} --tracking-uri {shlex.quote(uri)}"


def curves_url(tracking_uri: str, sweep: str) -> str | None:
    """Returns the URL of a sweep's curves; None if the tracker has no such sweep or does not answer in time.

    For a database, the URL works once ``make ui`` serves it.
    """
    uri = absolute_uri(tracking_uri)
    file = database_file(uri)
    if file and not file.exists():  # connecting would create it
        return None
    try:
        experiment = connect(uri).get_experiment_by_name(sweep)
    except Exception:  # the link is optional
        return None
    if experiment is None:
        return None
    # The workflow type selects the page for training runs. MLflow's default page is for language models.
    query = f"compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"{ui_base(uri)}/#/experiments/{experiment.experiment_id}/runs?{query}"


def curves_line(tracking_uri: str, sweep: str) -> str | None:
    """Returns a line with the link to the curves; None if there is no link."""
    url = curves_url(tracking_uri, sweep)
    return f"curves: {'make ui, then ' if database_file(tracking_uri) else ''}{url}" if url else None
