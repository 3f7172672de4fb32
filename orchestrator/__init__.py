"""Train many models, measure the curvature of their loss after every epoch, keep every number reproducible."""
