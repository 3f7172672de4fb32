"""Settings of every test."""

import os
import signal

# Tests run in parallel on few cores, where several threads each would only wait. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# `nohup` ignores SIGHUP, and the tests and their subprocesses would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
