"""Where a person looks at a sweep's curves, and what brings them there."""

import contextlib
import shlex
import threading
from pathlib import Path

from orchestrator.store.backends.location import S3Location
from orchestrator.store.provenance.redaction import redacted
from orchestrator.tracking.address import absolute_uri, database_file, ui_base
from orchestrator.tracking.client import connect

_TIMEOUT_SECONDS = 10.0


def chart_link(base: str, experiment_id: str) -> str:
    """The page that shows an experiment's curves as it opens, in the UI at `base`."""
    # The workflow type makes the page that of training runs; MLflow's own choice is the one for language models.
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"


def ship_command(storage_root: Path | S3Location, sweep: str, tracking_uri: str) -> str:
    """What to type to ship a sweep by hand; a password in the URI is left for its owner to fill in."""
    uri = absolute_uri(tracking_uri)
    command = shlex.join(["hessian-dynamics", "ship", sweep, "--storage", str(storage_root)])
    if redacted(uri) != uri:  # everybody on the machine can read a command line
        return f"MLFLOW_TRACKING_URI={shlex.quote(redacted(uri))} {command}"
    return f"{command} --tracking-uri {shlex.quote(uri)}"


def where_to_look(tracking_uri: str, sweep: str) -> str | None:
    """The page of a sweep's curves; None where the tracker has no such sweep or cannot be asked within seconds.

    For a database that is the page once ``make ui`` serves it.
    """
    uri = absolute_uri(tracking_uri)
    file = database_file(uri)
    if file and not file.exists():  # asking MLflow would make it
        return None
    found: list[str] = []
    asking = threading.Thread(target=_ask, args=(uri, sweep, found), daemon=True)
    asking.start()
    asking.join(_TIMEOUT_SECONDS)
    return chart_link(ui_base(uri), found[0]) if found else None


def _ask(uri: str, sweep: str, found: list[str]) -> None:
    with contextlib.suppress(Exception):  # a link is a courtesy: its absence ends nothing
        experiment = connect(uri).get_experiment_by_name(sweep)
        if experiment:
            found.append(experiment.experiment_id)
