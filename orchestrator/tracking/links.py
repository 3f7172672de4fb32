"""The links to a sweep's curves and spectra, and the command that ships a sweep."""

import shlex
from pathlib import Path

from orchestrator.store.backends.location import S3Location
from orchestrator.store.provenance.redaction import redacted
from orchestrator.tracking.address import absolute_uri, database_file, ui_base
from orchestrator.tracking.client import connect
from orchestrator.tracking.runs.chart_view import CURVES_VIEW, SPECTRA_VIEW, view_tag


def ship_command(storage_root: Path | S3Location, sweep: str, tracking_uri: str) -> str:
    """Returns the command that ships a sweep. A password in the URI is replaced by ``***``."""
    uri = absolute_uri(tracking_uri)
    command = shlex.join(["hessian-dynamics", "ship", sweep, "--storage", str(storage_root)])
    if redacted(uri) != uri:  # other users of the machine can read command lines
        return f"MLFLOW_TRACKING_URI={shlex.quote(redacted(uri))} {command}"
    return f"{command} --tracking-uri {shlex.quote(uri)}"


def view_urls(tracking_uri: str, sweep: str) -> dict[str, str]:
    """Returns the URLs of a sweep's prepared views by name: ``curves``, and ``spectra`` if the sweep measures them.

    Empty if the tracker has no such sweep or does not answer in time. For a database, the URLs work once ``make ui``
    serves it.
    """
    uri = absolute_uri(tracking_uri)
    file = database_file(uri)
    if file and not file.exists():  # connecting would create it
        return {}
    try:
        experiment = connect(uri).get_experiment_by_name(sweep)
    except Exception:  # the links are optional
        return {}
    if experiment is None:
        return {}
    # The workflow type selects the page for training runs. MLflow's default page is for language models.
    page = f"{ui_base(uri)}/#/experiments/{experiment.experiment_id}/runs"
    query = "compareRunsMode=CHART&workflowType=machine_learning&viewStateShareKey="
    views = {"curves": CURVES_VIEW}
    if view_tag(SPECTRA_VIEW) in experiment.tags:
        views["spectra"] = SPECTRA_VIEW
    return {name: f"{page}?{query}{view}" for name, view in views.items()}


def view_lines(tracking_uri: str, sweep: str) -> list[str]:
    """Returns a line for each URL of `view_urls`."""
    before = "make ui, then " if database_file(tracking_uri) else ""
    return [f"{name}: {before}{url}" for name, url in view_urls(tracking_uri, sweep).items()]
