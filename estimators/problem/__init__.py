"""Model, loss and data as one validated object: samples, checks, isolation, chunking, memory format."""
