"""A tracker that goes and comes back: how long to wait before the next try, and one line for each."""

import time
from collections import deque
from collections.abc import Callable

LONGEST_PAUSE_SECONDS = 10.0
"""Between two tries while the tracker is away."""
TOLD_OUTAGES = 3
"""So many are told within `TOLD_SECONDS`; a tracker that comes and goes by the minute is not told of any more."""
TOLD_SECONDS = 600.0


class Outage:
    """What is said of a tracker's absence, and what is not."""

    def __init__(self, say: Callable[[str], None], first_pause: float) -> None:
        self._say = say
        self._first_pause = first_pause
        self._told: deque[float] = deque()
        self._silent = False
        self.failures = 0
        """Tries in a row that failed; 0 while all is well."""

    def begins(self, sentence: Callable[[], str]) -> None:
        """A try has failed. The first of an outage is told, a later one where too much had been said by then."""
        self.failures += 1
        if self.failures > 1 and not self._silent:
            return
        now = time.monotonic()
        while self._told and now - self._told[0] > TOLD_SECONDS:
            self._told.popleft()
        self._silent = len(self._told) >= TOLD_OUTAGES
        if self._silent:
            return
        self._told.append(now)
        last = f"; it comes and goes, of which no more is said for {TOLD_SECONDS / 60:.0f} minutes"
        self._say(sentence() + (last if len(self._told) == TOLD_OUTAGES else ""))

    def ends(self, sentence: Callable[[], str]) -> None:
        """All went well. Told where the outage was."""
        if self.failures and not self._silent:
            self._say(sentence())
        self.failures = 0
        self._silent = False

    @property
    def pause(self) -> float:
        """Seconds before the next try: longer after every failure, up to `LONGEST_PAUSE_SECONDS`."""
        return min(LONGEST_PAUSE_SECONDS, self._first_pause * 2.0 ** min(self.failures - 1, 20))
