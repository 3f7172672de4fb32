"""What the commands do, from a script or a notebook. The public names are in `orchestrator`."""
