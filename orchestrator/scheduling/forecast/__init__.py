"""How long a sweep will take: timed parts of records before it runs, and the rate of records while it runs."""
