"""The settings and declared keys of the quantities, one file each."""
