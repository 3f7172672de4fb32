"""The figures of a report. Each has a function that computes a table and a function that draws only this table."""
