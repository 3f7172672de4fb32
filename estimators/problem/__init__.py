"""Model, loss and data as one validated value: samples, checks, isolation, chunking, memory format."""
