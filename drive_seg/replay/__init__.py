"""Offline replay of bags through the core, with a report."""
