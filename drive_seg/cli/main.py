"""`drive-seg SUBCOMMAND`: finds the subcommand's file, and turns known errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import keyword
import sys
from collections.abc import Sequence
from types import ModuleType

from drive_seg import __version__, lean_imports
from drive_seg.errors import DriveSegError

COMMANDS = {
    "segment": "segment an image, a folder, a video or a bag",
    "demo": "run the real node on footage and report (what `make run` does)",
    "doctor": "report what this machine can run, and how to fix the rest",
    "bench": "measure how long each stage of a frame takes",
    "evaluate": "score a network on labelled images",
    "train": "train a network",
    "export": "turn a training run into an ONNX network",
    "build": "prepare the first start: compile ahead, build the TensorRT plan",
    "replay": "replay bags offline: result bags and a report",
    "compare": "compare two replay results, or two networks",
    "pick": "choose the frames of a drive that are most worth labelling",
    "import": "turn labels into a data set",
    "ego-mask": "find where the camera sees its own vehicle",
    "adapt": "adapt a network to footage without labels",
}
"""Subcommands, each in drive_seg/cli/NAME.py (NAME_.py for a word of Python's) with add_arguments(parser) and
run(args) -> exit code."""

EXPECTED = (DriveSegError, OSError)
"""Errors that say what is wrong and the fix themselves; anything else is a bug and shows its traceback."""


def load(name: str) -> ModuleType:
    """The module of a subcommand."""
    return importlib.import_module(f"drive_seg.cli.{name.replace('-', '_')}{'_' * keyword.iskeyword(name)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code (2 for a known error)."""
    own_process = argv is None
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="drive-seg", description="Road, pavement, obstacles and drivable area.")
    parser.add_argument("--version", action="version", version=f"drive-seg {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary)
        if name == chosen:  # only the chosen one is imported: `drive-seg --help` needs neither engine nor ROS
            module = load(name)
            subparser.description = module.__doc__
            subparser.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(subparser)
    args = parser.parse_args(argv)
    if own_process and "numba" in sys.modules:
        lean_imports.load_numba_without_scipy()
    try:
        return module.run(args)
    except EXPECTED as error:
        print(f"drive-seg {args.command}: {_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _line(error: Exception) -> str:
    """The error in one line; for a file-system error the file, then the reason: its number says nothing."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
