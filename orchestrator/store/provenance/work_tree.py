"""The git checkout that the code runs from: its commit and its uncommitted changes."""

import functools
import subprocess
from pathlib import Path

_FOLDER = Path(__file__).parent


@functools.cache
def commit() -> str | None:
    """The commit, with suffix ``-dirty`` if tracked files were changed; None outside a checkout. Cached."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name)
    head = _git("rev-parse", "HEAD")
    if tracked is None or head is None:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/")
    return f"{head.strip()}-dirty" if changed else head.strip()


@functools.cache
def uncommitted() -> str | None:
    """The uncommitted changes of tracked files as a patch; None if there are none. Cached."""
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
