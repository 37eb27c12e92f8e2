"""The error that ends a command with one line."""

from __future__ import annotations

from drive_seg.errors import CommandError

__all__ = ["CommandError"]
