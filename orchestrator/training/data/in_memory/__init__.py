"""Data that is held in memory: tables, texts, sequences to sort, and the tensors of your own functions."""
