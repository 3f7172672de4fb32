"""The quantities measured at a record, one file each."""
