"""config/drive_seg.yaml, written from the node's parameters:

    python -m drive_seg.ros.parameters_file > config/drive_seg.yaml
"""

from __future__ import annotations

import json
import textwrap

from drive_seg.ros.parameters import PARAMETERS

_HEAD = """\
# Every parameter of the node with its default: copy it, keep what you change, and start with
#     ros2 launch drive_seg seg.launch.py params_file:=/path/to/your.yaml
# Those marked * can change while the node runs (ros2 param set); the others are read when it is configured.
/**:
  ros__parameters:
"""
_WIDTH = 116


def text() -> str:
    """The file's content: for each parameter a comment and its default."""
    lines = []
    for spec in PARAMETERS:
        about = ("* " if spec.live else "") + spec.description
        if spec.choices:
            about += f" ({', '.join(spec.choices)})"
        elif spec.low is not None:
            about += f" ({spec.low:g} to {spec.high:g})"
        lines += textwrap.wrap(about, _WIDTH, initial_indent="    # ", subsequent_indent="    #   ")
        lines.append(f"    {spec.name}: {json.dumps(spec.default)}")
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(text(), end="")
