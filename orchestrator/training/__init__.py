"""Trains one model and measures it after every epoch. Knows no disk but the data's, no scheduler, no tracker."""
