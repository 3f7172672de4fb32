"""What a run shows of its progress: a line, the work of each node, and a live table on a terminal."""
