"""Completes sweeps: plans the missing trials, runs them with Ray or in plain processes, and shows progress."""
