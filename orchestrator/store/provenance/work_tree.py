"""The git checkout that the code runs from: its commit, and what differs from it."""

import functools
import subprocess
from pathlib import Path

_FOLDER = Path(__file__).parent


@functools.cache
def commit() -> str | None:
    """The commit, with ``-dirty`` where tracked files differ; None outside a checkout. As when first asked."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    head = _git("rev-parse", "HEAD")
    if tracked is None or head is None:
        return None
    return (
        f"{head.strip()}-dirty" if _git("status", "--porcelain", "--untracked-files=no", "--", ":/") else head.strip()
    )


@functools.cache
def uncommitted() -> str | None:
    """What differs from the commit, as a patch; None where nothing does. As when first asked: the code that runs."""
    if not (commit() or "").endswith("-dirty"):
        return None
    return _git(
        "-c", "core.quotePath=false", "diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--", ":/"
    )


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(_FOLDER), *arguments], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
