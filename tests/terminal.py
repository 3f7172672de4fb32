"""Runs commands on a pseudo-terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

_SIZE = (30, 100)
"""Rows and columns."""


def in_terminal(
    arguments: list[str],
    folder: Path,
    interrupt_after: bytes = b"",
    **environment: str,
) -> tuple[int, str]:
    """Returns the exit code of a command and everything that it wrote, with the codes of the terminal.

    Args:
        arguments: the command.
        folder: its working folder.
        interrupt_after: Ctrl-C is pressed once after this output; empty: never.
        environment: variables that are added.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env={**kept, "TERM": "xterm", **environment},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C reaches only the terminal's own session
    )
    os.close(follower)
    written, waiting = b"", bool(interrupt_after)
    while True:
        try:
            written += os.read(leader, 65536)
        except OSError:  # every process has closed the terminal
            break
        if waiting and interrupt_after in written:
            os.write(leader, b"\x03")
            waiting = False
    os.close(leader)
    return process.wait(60), written.decode(errors="replace")
