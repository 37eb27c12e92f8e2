"""What the node has from configuring until clean-up: the network on its engine, and each camera's publishers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rclpy.lifecycle import LifecyclePublisher
from rclpy.publisher import Publisher

from drive_seg.outputs.warm import warm_up
from drive_seg.pipeline import Model, Pipeline
from drive_seg.rig import Rig
from drive_seg.ros import transport
from drive_seg.ros.joint import JointGround
from drive_seg.ros.label_info import publish_label_info
from drive_seg.ros.outputs import OUTPUTS, Output
from drive_seg.ros.pose import PoseSource
from drive_seg.ros.throttled_callbacks import ThrottledCallbacks
from drive_seg.ros.turns import Turn, Turns
from drive_seg.settings import Settings

if TYPE_CHECKING:
    from drive_seg.ros.node import SegmentationNode


def prefix(camera: str) -> str:
    """What leads the topics of a camera: `front/`, and nothing where it is the only one."""
    return f"{camera}/" if camera else ""


@dataclass(frozen=True)
class ConfiguredCamera:
    """One camera of the node. turn: its place at the engines, None where they are its own."""

    name: str
    pipeline: Pipeline
    publishers: dict[Output, Publisher]
    pose_source: PoseSource
    turn: Turn | None

    def use(self, settings: Settings) -> None:
        """Take settings whose live ones may have changed."""
        self.pipeline.use(settings)
        if self.turn is not None:
            self.turn.weight = settings.weight


class Configured:
    """Opened whole, or not at all. `close` gives everything back; it may be called twice.

    cameras: by name, "" where it is the only one. joint: the ground of all of them; None for a camera alone.
    """

    def __init__(self, node: SegmentationNode, rig: Rig) -> None:
        """Raises one of drive_seg.pipeline.CANNOT_OPEN."""
        with ExitStack() as opened:
            log = node.get_logger()
            # On a CPU a few engines of few threads for several cameras; with a latency budget there are spares instead.
            several = rig.several and not rig.common.latency_budget
            self.model = Model.open(rig.common, several=several, most=len(rig.cameras), cameras=len(rig.cameras),
                                    progress=log.info, warn=log.warning)
            opened.callback(self.model.close)
            budget = rig.common.latency_budget / 1e3 or None
            turns = Turns(self.model.engines, budget) if rig.several else None
            events = ThrottledCallbacks()
            self.cameras: dict[str, ConfiguredCamera] = {}
            for name, settings in rig.cameras.items():
                self.cameras[name] = self._open_camera(node, opened, name, settings, turns, events)
            warm_up(compressed=any(s.image_transport == "compressed" for s in rig.cameras.values()), progressive=False,
                    several=rig.several)
            transport.give_back()  # what reading and compiling the network took
            for latched in publish_label_info(node, self.model.network.table):
                opened.callback(node.destroy_publisher, latched)
            self.joint: JointGround | None = None
            if rig.several:
                self.joint = JointGround(node, rig, {n: camera.pipeline for n, camera in self.cameras.items()}, events)
                opened.callback(self.joint.close)
            self._opened = opened.pop_all()

    def _open_camera(self, node: SegmentationNode, opened: ExitStack, name: str, settings: Settings,
                     turns: Turns | None, events: ThrottledCallbacks) -> ConfiguredCamera:
        pipeline = Pipeline(settings, self.model)
        publishers: dict[Output, Publisher] = {}
        for output in OUTPUTS:
            topic = output.topic_of(prefix(name))
            publisher: LifecyclePublisher = node.create_lifecycle_publisher(output.type, topic, output.qos,
                                                                            callback_group=events)
            opened.callback(node.destroy_lifecycle_publisher, publisher)
            publishers[output] = publisher
        pose_source = PoseSource(node, settings)
        opened.callback(pose_source.close)
        return ConfiguredCamera(name, pipeline, publishers, pose_source, turns.join(settings.weight) if turns else None)

    @property
    def pipeline(self) -> Pipeline:
        """The first camera's."""
        return next(iter(self.cameras.values())).pipeline

    @property
    def publishers(self) -> dict[Output, Publisher]:
        """The first camera's."""
        return next(iter(self.cameras.values())).publishers

    def close(self) -> None:
        """Give back engine, publishers and TF."""
        self._opened.close()
