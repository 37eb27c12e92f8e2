"""Scores of a network on labelled images, through the core that the node runs."""
