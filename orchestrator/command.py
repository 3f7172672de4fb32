"""The entry point of the command `hessian-dynamics`."""

import sys


def main() -> None:
    """Runs the command. Without the packages of the extra `sweep`, says how to install them and exits with code 2."""
    try:
        from orchestrator.cli import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(("orchestrator", "estimators")):
            raise
        print(f"error: {error.name} is not installed: pip install 'hessian-dynamics[sweep]'", file=sys.stderr)
        sys.exit(2)
    run()
