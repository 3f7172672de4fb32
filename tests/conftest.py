"""What holds for every test."""

import signal

# A run under nohup leaves SIGHUP ignored, and so would these tests and all that they start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
