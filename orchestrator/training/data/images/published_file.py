"""Downloads one file of a published data set and verifies its MD5."""

import logging
import platform
import socket
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch.hub

from orchestrator.training.data.samples import DataError

_SILENCE_SECONDS = 60.0
"""Timeout for a server that sends nothing. Without it, torch would wait forever."""
_PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class PublishedFile:
    """A published file, its download URLs and its MD5."""

    path: Path
    """Location of the file on this machine."""
    urls: tuple[str, ...]
    md5: str

    def is_present(self) -> bool:
        """Returns whether the file is on this machine.

        Raises:
            DataError: if it is damaged or unreadable. It is never overwritten, since it may belong to the user.
        """
        from torchvision.datasets.utils import calculate_md5

        try:
            if not self.path.exists():
                return False
            found = calculate_md5(self.path)
        except OSError as error:
            reason = f"cannot be read ({error.strerror}); make it readable, or remove it"
            raise DataError(f"{str(self.path)!r} {reason}") from None
        if found != self.md5:
            raise DataError(
                f"{str(self.path)!r} is damaged: its MD5 is {found}, expected {self.md5}; remove it, and the next run "
                f"downloads it again, or replace it by the file at {' or '.join(self.urls)}"
            )
        return True

    def download(self) -> None:
        """Downloads the file from the first URL that works. Deletes an incomplete or wrong file.

        Raises:
            DataError: if every URL failed. The message contains each reason.
        """
        failures = []
        for url in self.urls:
            logging.getLogger(__name__).warning("downloading %s to %s", url, self.path)
            try:
                self._download_from(url)
                return
            except (HTTPException, OSError, ValueError) as error:
                failures.append(f"{url}: {error}")
        raise DataError("; ".join(failures))

    def _download_from(self, url: str) -> None:
        from torchvision.datasets.utils import check_md5

        # Contains this machine's name, since machines may share the folder without sharing locks.
        scratch = self.path.with_name(f".{self.path.name}.{platform.node()}")
        scratch.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in scratch.parent.glob(f"{scratch.name}*"):  # left by a killed process
            abandoned.unlink()
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_SILENCE_SECONDS)
        try:
            torch.hub.download_url_to_file(url, str(scratch), progress=sys.stderr.isatty())
            if not check_md5(scratch, self.md5):
                raise ValueError(f"the {scratch.stat().st_size:,} bytes received differ in MD5 from the published file")
            scratch.replace(self.path)
        finally:
            socket.setdefaulttimeout(timeout)
            scratch.unlink(missing_ok=True)

    def check_reachable(self) -> None:
        """Raises DataError if no server offers this file. Downloads nothing."""
        failures = [failure for url in self.urls if (failure := _unreachable(url))]
        if len(failures) == len(self.urls):
            raise DataError("; ".join(failures))


def _unreachable(url: str) -> str | None:
    try:
        urlopen(Request(url, method="HEAD"), timeout=_PROBE_SECONDS).close()
    except (HTTPException, OSError, ValueError) as error:
        if not (isinstance(error, HTTPError) and error.code in (405, 501)):  # the server does not support HEAD
            return f"{url}: {error}"
    return None
