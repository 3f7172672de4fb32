"""Check of the tracker."""

from orchestrator.checks.finding import Finding, ok, problem, warning
from orchestrator.tracking.describe import describe_tracker


def check_tracker(uri: str) -> Finding:
    """Whether MLflow can track at a URI."""
    try:
        return ok("tracker", describe_tracker(uri))
    except ModuleNotFoundError as error:
        return warning("tracker", f"{error}; a run works without it")
    except (ValueError, OSError) as error:
        return problem("tracker", error)
