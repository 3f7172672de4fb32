"""The storage on a disk or in an S3 bucket, behind one set of file operations."""
