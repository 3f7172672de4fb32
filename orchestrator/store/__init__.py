"""The truth on disk: what a trial computed, epoch by epoch, and who is at work on a sweep."""
