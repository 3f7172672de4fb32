"""The quantities measured at a record, one file each. The only package that calls the estimators."""
