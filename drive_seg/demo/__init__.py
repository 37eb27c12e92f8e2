"""What `make run` does: a player and a planner's listener around the real node."""
