"""From frames to the tables, figures, verdicts and the page of a report."""
