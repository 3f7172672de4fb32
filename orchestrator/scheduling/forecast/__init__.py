"""How long a sweep will take: timed parts of epochs before it runs, and the rate of its records while it runs."""
