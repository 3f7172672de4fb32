"""The files of one trial: commits, checkpoints, remeasurements, and the JSON they are written in."""
