"""The figures of a report. Each has a function that computes a table and one that draws it from the table alone."""
