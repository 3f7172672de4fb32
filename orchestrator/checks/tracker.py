"""Check of the tracker."""

from orchestrator.checks.finding import Finding, ok, problem, warning
from orchestrator.tracking.describe import describe_tracker


def check_tracker(uri: str) -> Finding:
    """Checks that the tracker at a URI is usable. If MLflow is not installed, this is only a warning."""
    try:
        return ok("tracker", describe_tracker(uri))
    except ModuleNotFoundError as error:
        return warning("tracker", f"{error}; sweeps run without MLflow")
    except (ValueError, OSError) as error:
        return problem("tracker", error)
