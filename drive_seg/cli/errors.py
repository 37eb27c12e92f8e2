"""The error that ends a command with one line."""


class CommandError(RuntimeError):
    """What the user asked for can't be done; the message names the fix."""
