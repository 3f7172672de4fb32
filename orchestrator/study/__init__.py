"""What a trial, a sweep and an epoch record are. Pure: reads sweep files, writes nothing, needs no torch."""
