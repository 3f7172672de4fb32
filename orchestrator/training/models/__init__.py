"""Networks: built in, or the user's own."""
