"""Why a library can't be loaded: little memory is not a missing package."""

from __future__ import annotations

_MEMORY = ("memory", "alloc", "failed to map segment", "start new thread")


def is_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, which libraries say in many ways."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in _MEMORY)


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def fix_for_loading(error: BaseException, package: str) -> str:
    """What to do about a package that is installed and can't be loaded."""
    return fix_for_memory(error) or f"install it again: pip install --force-reinstall {package}"


def fix_for_memory(error: BaseException) -> str:
    """What to do where there is too little memory, "" where that is not what the error says."""
    if is_memory(error):
        return "free some memory, or raise the limit of this process (`ulimit -v`, the container's --memory)"
    return ""
