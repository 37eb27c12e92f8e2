"""Options that several subcommands share."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from drive_seg.arguments import size
from drive_seg.errors import CommandError, ParameterError
from drive_seg.parameter_file import NODE, read_parameters
from drive_seg.pipeline import Pipeline
from drive_seg.rig import Rig, split
from drive_seg.settings import TABLE, Setting, Settings, of_groups
from drive_seg.sources.frame_source import FrameSource
from drive_seg.sources.open import open_source

_STANDARD_OUTPUT = Path("-")
_LETTER = {int: "N", float: "X", str: "NAME", tuple: "A,B,..."}


def add_settings(parser: argparse.ArgumentParser, groups: Iterable[str], without: Collection[str] = ()) -> None:
    """An option for each setting of some groups, --params-file and --node. See `settings_of`.

    without: names of settings that the command has no use for; what the file has of them is left out.
    """
    parser.set_defaults(without=tuple(without), of_file=None)  # read once, or its warnings came again and again
    added = parser.add_argument_group("settings", "the node's parameters; an option overrides --params-file")
    added.add_argument("--params-file", type=Path, metavar="FILE", help="the node's YAML file of parameters")
    added.add_argument("--node", metavar="NAME",
                       help=f"whose section of the file to take (default: {NODE}, or the only node in it)")
    for setting in of_groups(groups):
        if setting.name in without or setting.name == "input_width":
            continue
        if setting.name == "input_height":  # the two go together
            added.add_argument("--size", type=size, metavar="HxW",
                               help="size of the picture that the network sees (default: the network's own)")
        else:
            _add_setting(added, setting)


def _add_setting(added: argparse._ArgumentGroup, setting: Setting) -> None:
    flags = ["--" + setting.name.replace("_", "-")]
    about = setting.about.rstrip(".")
    about = about[0].lower() + about[1:] if about[1].islower() or about[1] == " " else about
    if setting.kind is bool:
        added.add_argument(*flags, action=argparse.BooleanOptionalAction, default=None,
                           help=f"{about} (default: {'yes' if setting.default else 'no'})")
        return
    kind: Callable[[str], Any] = partial(_parse, setting)
    if setting.name == "plan_folder":
        flags, kind = [*flags, "--plans"], lambda text: str(cache_folder(text))
    facts = [] if setting.choices or not setting.allowed else [setting.allowed]
    if setting.default not in ("", ("",)) and not (setting.default == 0 and "0 takes" in about):
        facts.append(f"default: {setting.default}")
    more = f" ({'; '.join(facts)})" if facts else ""
    metavar = "FILE" if setting.file else setting.unit.upper() or _LETTER[setting.kind]
    added.add_argument(*flags, type=kind, choices=setting.choices or None, dest=setting.name,
                       metavar=None if setting.choices else metavar, help=(about + more).replace("%", "%%"))


def _parse(setting: Setting, text: str) -> Any:
    try:
        value = tuple(text.split(",")) if setting.kind is tuple else setting.kind(text)
    except ValueError:
        value = text
    if not setting.choices:  # of which argparse says as much
        try:
            setting.check(value)
        except ParameterError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return value


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of add_settings say, by name: options before the parameter file. Raises ParameterError."""
    if args.of_file is None:
        args.of_file = _of_file(args) if args.params_file else {}
    given = args.of_file | {name: value for name in TABLE if (value := getattr(args, name, None)) is not None}
    if args.size:
        given["input_height"], given["input_width"] = args.size
    return given


def typed_settings(args: argparse.Namespace) -> list[str]:
    """The options of add_settings that were given, as they are typed: for a command that then has no use for them."""
    typed = {name: getattr(args, name, None) for name in TABLE} | {"size": args.size, "params_file": args.params_file,
                                                                  "node": args.node}
    return ["--" + name.replace("_", "-") for name, value in typed.items() if value is not None]


def _of_file(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the parameter file, without those that the command has no use for."""
    found = read_parameters(args.params_file, args.node, _warn)
    unused = {name: value for name, value in found.items() if split(name)[1] in args.without}
    # Of a file that lists every default nothing is lost, so nothing is said.
    if lost := [name for name, value in unused.items() if value != TABLE[split(name)[1]].default]:
        _warn(f"{args.params_file}: this command has no use for {', '.join(lost)}, left out")
    return {name: value for name, value in found.items() if name not in unused}


def rig_of(args: argparse.Namespace) -> Rig:
    """The cameras and their settings that the options of add_settings ask for. Raises ParameterError.

    An option goes before what the parameter file has for all cameras, not before what it has for one.
    """
    rig = Rig.from_values(given_settings(args), exact=False)
    rig.check_files()
    return rig


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of one camera that the options of add_settings ask for. Raises ParameterError."""
    rig = rig_of(args)
    if rig.several:
        raise ParameterError(f"the settings are of the cameras {', '.join(rig.cameras)}, this command takes one",
                             "leave out `cameras`, or give settings without it")
    return rig.common


def node_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The parameters that a node needs to be given for the same."""
    given = given_settings(args)
    rig = Rig.from_values(given, exact=False).map(Settings.absolute)
    found = {name: getattr(rig.cameras.get(camera, rig.common), setting)
             for name in given for camera, setting in [split(name)]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def open_pipeline(args: argparse.Namespace, ego: np.ndarray | None = None) -> Pipeline:
    """The pipeline that the options of add_settings ask for. ego: see Pipeline. Raises one of CANNOT_OPEN."""
    return Pipeline.open(settings_of(args), ego=ego, progress=print_line, warn=_warn)


def open_recorded(args: argparse.Namespace) -> list[FrameSource]:
    """The sources that args.inputs, --duration and --topic name, for a command that reads them more than once. Raises
    SourceError, and CommandError for a live camera."""
    sources = [open_source(text, duration=args.duration, topic=args.topic) for text in args.inputs]
    for text, source in zip(args.inputs, sources, strict=True):
        if source.live:
            raise CommandError(f"{text} is a live camera, whose frames can't be read twice", "record a drive first")
    return sources


def _warn(line: str) -> None:
    print_line(f"warning: {line}")


def print_line(line: str) -> None:
    """A line on stderr, on what takes long."""
    print(line, file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """Parse a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def out_folder(text: str) -> Path:
    """Parse the name of a folder for results, there or not: what can't become one is reported before the work."""
    folder = cache_folder(text)
    _check_writable(_nearest(folder))
    return folder


def cache_folder(text: str) -> Path:
    """The same for a folder that serves what is in it even where it can't be written."""
    folder = _place(text)
    there = _nearest(folder)
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file, not a folder: give another folder")
    return folder


def out_file(text: str) -> Path:
    """Parse the name of a file for results, likewise; its folder need not be there."""
    file = _place(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{file} is a folder: give the name of a file")
    if file.exists():
        _check_writable(file)
    else:
        out_folder(str(file.parent))
    return file


def json_file(text: str) -> Path:
    """The same, or - for standard output."""
    return _STANDARD_OUTPUT if text == str(_STANDARD_OUTPUT) else out_file(text)


def is_standard_output(file: Path | None) -> bool:
    """Whether results go to standard output, which then holds nothing else."""
    return file == _STANDARD_OUTPUT


def write_json(results: dict, file: Path) -> None:
    """Write results to what json_file gave."""
    text = json.dumps(results, indent=1)
    if is_standard_output(file):
        print(text)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


def _place(text: str) -> Path:
    """A ~ is what the shell leaves where it doesn't begin the word, as in --out=~/run."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text} begins with a user who has no home here: give another place"
                                         ) from None


def _nearest(path: Path) -> Path:
    """The path itself or the first folder above it that is there."""
    return next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} may not be written: give another place, or change its permissions")
