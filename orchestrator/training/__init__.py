"""Trains one model and measures it after every epoch. Reads data from disk and writes nothing else."""
