"""Figures of the quantities that a sweep file chooses. They are drawn if a trial has the quantity."""
