"""What the node has from configuring until clean-up: the network on its engine, and publishers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rclpy.lifecycle import LifecyclePublisher
from rclpy.publisher import Publisher

from drive_seg.outputs.warm import warm_up
from drive_seg.pipeline import Model, Pipeline
from drive_seg.ros.label_info import publish_label_info
from drive_seg.ros.outputs import OUTPUTS, Output
from drive_seg.ros.pose import PoseSource
from drive_seg.settings import Settings

if TYPE_CHECKING:
    from drive_seg.ros.node import SegmentationNode


class Configured:
    """Opened whole, or not at all. `close` gives everything back; it may be called twice."""

    def __init__(self, node: SegmentationNode, settings: Settings) -> None:
        """Raises one of drive_seg.pipeline.CANNOT_OPEN."""
        with ExitStack() as opened:
            log = node.get_logger()
            self.model = Model.open(settings, progress=log.info, warn=log.warning)
            opened.callback(self.model.close)
            self.pipeline = Pipeline(settings, self.model)
            warm_up()
            self.publishers: dict[Output, Publisher] = {}
            for output in OUTPUTS:
                publisher: LifecyclePublisher = node.create_lifecycle_publisher(output.type, output.topic, output.qos)
                opened.callback(node.destroy_lifecycle_publisher, publisher)
                self.publishers[output] = publisher
            for latched in publish_label_info(node, self.model.network.table):
                opened.callback(node.destroy_publisher, latched)
            self.pose_source = PoseSource(node, settings)
            opened.callback(self.pose_source.close)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Give back engine, publishers and TF."""
        self._opened.close()
