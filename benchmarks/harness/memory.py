"""Peak memory of a process."""

from pathlib import Path


def peak_resident_bytes(pid: int | None = None) -> int:
    """Peak resident memory of a process, by default this one; 0 if it has just ended.

    `getrusage` and `wait4` would report the peak of the parent at the fork if that is larger.
    """
    try:
        lines = Path(f"/proc/{pid or 'self'}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
