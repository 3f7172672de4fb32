"""Fetches a published file: checked, kept whole or not at all, and gone on with where the line broke."""

import fcntl
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_SILENCE_SECONDS = 60.0
"""After which a server that sends nothing is given up; else a filtered network would hold a sweep for ever."""
_PROBE_SECONDS = 5.0
_BLOCK = 2**20


class DownloadError(Exception):
    """An address did not give the file; the message says why."""


def download(url: str, target: Path, md5: str) -> None:
    """Fetches a file, unless another process has done so meanwhile.

    What arrived before a line broke lies beside the target and is not asked for again, where the server can send a
    part; so a second call goes on.

    Args:
        url: http or https.
        target: where the file goes once it is whole.
        md5: of the published file.

    Raises:
        DownloadError: where nothing came, not all of it, or something else.
        OSError: where it cannot be written.
    """
    # A machine's own: where machines share a file system, they may not share their locks.
    part = target.with_name(f".{target.name}.{platform.node()}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("a+b") as file:
        with suppress(OSError):  # no locks there
            fcntl.flock(file, fcntl.LOCK_EX)
        if target.exists():
            return
        try:
            _append(url, file)
        except (HTTPException, OSError, ValueError) as error:
            if file.tell() == 0:
                part.unlink(missing_ok=True)
            raise DownloadError(f"{url}: {error}") from None
        file.seek(0)
        if hashlib.file_digest(file, "md5").hexdigest() != md5:
            part.unlink(missing_ok=True)
            raise DownloadError(f"{url}: what it sent is not the published file, its MD5 differs")
        part.replace(target)


def silence(url: str) -> str | None:
    """Why a server would not send a file, in a line; None where it would. Nothing is downloaded."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=_PROBE_SECONDS).close()
    except HTTPError as error:
        return None if error.code in (405, 501) else f"{url}: {error}"  # it answers, but not to such a question
    except (HTTPException, OSError, ValueError) as error:
        return f"{url}: {error}"
    return None


def _append(url: str, file: BinaryIO) -> None:
    """Adds to what is there of a file what is missing of it."""
    there = file.tell()
    try:
        answer = urlopen(Request(url, headers={"Range": f"bytes={there}-"} if there else {}), timeout=_SILENCE_SECONDS)
    except HTTPError as error:
        if there and error.code == 416:  # nothing is missing: the sum tells whether it is right
            return
        raise
    with answer:
        if there and answer.status != 206:  # a server that sends no parts begins anew
            file.truncate(0)
            there = 0
        if there:
            print(f"going on after {there / 1e6:,.1f} MB", file=sys.stderr)
        length = int(answer.headers.get("Content-Length") or 0)
        with _shown(there, there + length) as show:
            while block := answer.read1(_BLOCK):
                file.write(block)
                show(len(block))
        file.flush()
        came = file.seek(0, os.SEEK_END)
        if came < there + length:
            raise ConnectionError(f"{came:,} of {there + length:,} bytes came; the next attempt goes on from there")


@contextmanager
def _shown(there: int, size: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, unless something else draws there already, and nothing elsewhere."""
    terminal = sys.__stderr__
    if terminal is None or terminal is not sys.stderr or not terminal.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=Console(file=terminal)) as bar:
        task = bar.add_task("", total=size if size > there else None, completed=there)
        yield lambda count: bar.advance(task, count)
