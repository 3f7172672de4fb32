"""Trains one model and measures it after every epoch. It accesses no files except those of data sets."""
