"""Brings what is stored to what is desired: plans, runs trials with Ray or in plain processes, shows progress."""
