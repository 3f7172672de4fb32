"""Check of the tracker."""

from orchestrator.checks.finding import Finding, ok, problem, warning
from orchestrator.tracking.describe import describe_tracker


def check_tracker(uri: str) -> Finding:
    """Checks that MLflow can record at a tracking URI."""
    try:
        return ok("tracker", describe_tracker(uri))
    except ModuleNotFoundError as error:
        return warning("tracker", f"{error}; a run works without it")
    except (ValueError, OSError) as error:
        return problem("tracker", error)
