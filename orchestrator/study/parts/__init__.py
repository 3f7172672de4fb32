"""The parts of a trial's config."""
