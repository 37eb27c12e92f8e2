"""How footage reaches the node: which player, on which topics, on which clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from drive_seg.sources.bag import BagSource, info_topic
from drive_seg.sources.frame_source import FrameSource, Section

_TF = ("/tf", "/tf_static")


@dataclass(frozen=True)
class Sent:
    """One frame that the player published. stamp_ns: of its header. sent_ns: system time at which it left."""

    stamp_ns: int
    sent_ns: int


@dataclass(frozen=True)
class Feed:
    """A player and what the node needs for it.

    footage: what is played, to be read again. command: module and arguments of the player. parameters, remappings: of
    the node. bag_rate: how fast a bag is played, None where there is no bag. ground: it has camera and pose, by TF, and
    the node can read them.
    """

    footage: FrameSource
    command: Sequence[str]
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: Sequence[str] = ()
    bag_rate: float | None = None
    ground: bool = False


def open_feed(footage: FrameSource, duration: float, topic: str | None, rate: float, kept: Path | None) -> Feed:
    """The feed of some footage, which may be a Section. kept: folder for the frames of a live camera."""
    whole = footage.whole if isinstance(footage, Section) else footage
    transport = {"image_transport": "compressed"} if whole.compressed else {}
    if isinstance(whole, BagSource) and whole.playable:
        image, info = whole.topic.name, info_topic(whole.topic.name)
        played = [name for name in (image, info, *_TF) if name in whole.topics]
        command = ["drive_seg.play.bag_player_main", whole.source, "--duration", str(duration), "--rate", str(rate),
                   "--report", image, "--topics", *played]
        name = "image/compressed" if whole.compressed else "image"
        ground = info in played and any(name in played for name in _TF) and find_spec("tf2_ros") is not None
        return Feed(whole, command, {"use_sim_time": True, **transport}, (f"{name}:={image}", f"camera_info:={info}"),
                    rate, ground)
    command = ["drive_seg.play.camera_player", "--source", footage.source, "--duration", str(duration), "--report",
               *(["--topic", topic] if topic else []), *(["--keep", str(kept)] if kept else [])]
    return Feed(footage, command, transport)


class Log:
    """Reads what a player prints with --report. sent: by name of the shot. player, late_ms: which it was, how late."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.repeated = 0  # frames with the stamp of an earlier one: their masks can't be told apart
        self.player: str | None = None
        self.late_ms: dict[str, float] | None = None
        self._stamps: set[int] = set()

    def on_line(self, line: str) -> None:
        """Take a line of its output."""
        try:
            facts = json.loads(line)
        except ValueError:  # libraries print too, and a player that is ended breaks off amid a line
            return
        if "late_ms" in facts:
            self.player, self.late_ms = facts["player"], facts["late_ms"]
            return
        stamp = facts["stamp_ns"]
        if stamp in self._stamps:
            self.repeated += 1
            return
        self._stamps.add(stamp)
        self.sent[facts["name"]] = Sent(stamp, facts.get("sent_ns", stamp))  # a camera stamps when it publishes
