"""Checks of the machine, the storage, the tracker and the nodes of a cluster. They change nothing."""
