"""Disks of a few MiB that tests fill or make read-only. This needs the permission to mount."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[bool]:
    """Mounts a disk on a new folder. Yields whether that was permitted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "hessian-dynamics-test", str(folder)]
    mounted = os.geteuid() == 0 and shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield bool(mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Fills a disk except for some bytes. Returns the file that fills it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for block in (2**20, 4096):
            try:
                while shutil.disk_usage(folder).free >= leave_bytes + block:
                    stream.write(b"\0" * block)
            except OSError:  # full
                continue
    return ballast


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Makes a folder read-only, even for processes with open files in it."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
