"""Two networks on the same pictures: which changed, and whether for the better."""
