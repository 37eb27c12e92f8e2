"""What this machine can run, and the fix for what it can't: one file a group of checks, listed in checks.py."""
