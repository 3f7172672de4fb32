"""Expectations of a sweep: what was published or is expected, to be judged against the stored records."""
