"""Where a person looks at a sweep's curves."""

from orchestrator.tracking.address import absolute_uri, database_file, ui_base
from orchestrator.tracking.client import connect


def chart_link(base: str, experiment_id: str) -> str:
    """The page that shows an experiment's curves as it opens, in the UI at `base`."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?compareRunsMode=CHART"


def where_to_look(tracking_uri: str, sweep: str) -> str | None:
    """The page of a sweep's curves; None where the tracker has no such sweep or cannot be asked within seconds.

    For a database that is the page once ``make ui`` serves it.
    """
    uri = absolute_uri(tracking_uri)
    file = database_file(uri)
    if file and not file.exists():  # asking MLflow would make it
        return None
    try:
        experiment = connect(uri).get_experiment_by_name(sweep)
    except Exception:  # a link is a courtesy: its absence ends nothing
        return None
    return chart_link(ui_base(uri), experiment.experiment_id) if experiment else None
