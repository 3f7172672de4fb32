"""The figures: each a function from frames to a table of numbers, and one that draws nothing but that table."""
