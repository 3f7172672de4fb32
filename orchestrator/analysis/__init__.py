"""Turns the frames of a sweep into a report: tables, figures, verdicts and a page."""
