"""The ready-made RViz and Foxglove views show what the node publishes, and ask for no more than it promises."""

import json
from pathlib import Path

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSCompatibility, QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import Image, LaserScan, PointCloud2
from std_msgs.msg import String

CONFIG = Path(__file__).parents[2] / "config"
RVIZ = {"Map": OccupancyGrid, "LaserScan": LaserScan, "PointCloud2": PointCloud2, "Image": Image}
RELIABILITY = {"Reliable": QoSReliabilityPolicy.RELIABLE, "Best Effort": QoSReliabilityPolicy.BEST_EFFORT}
DURABILITY = {"Volatile": QoSDurabilityPolicy.VOLATILE, "Transient Local": QoSDurabilityPolicy.TRANSIENT_LOCAL}
PICTURES = {f"/drive_seg/{name}" for name in ("labels", "drivable_area", "confidence", "classes", "overlay")}
GROUND = {f"/drive_seg/{name}" for name in ("grid", "scan", "points")}


@pytest.fixture
def published(graph, colour_network_path):
    """Publishers of the real node by topic."""
    node = graph.segmentation(network=str(colour_network_path), engine="openvino")
    return {publisher.topic_name: publisher for publisher in node.publishers}


def test_rviz(published):
    view = yaml.safe_load((CONFIG / "drive_seg.rviz").read_text())["Visualization Manager"]
    shown = {d["Topic"]["Value"]: d for d in view["Displays"] if "Topic" in d}
    assert set(shown) == PICTURES | GROUND  # RViz shows no text
    for topic, display in shown.items():
        publisher, asked = published[topic], display["Topic"]
        assert publisher.msg_type is RVIZ[display["Class"].partition("/")[2]], topic
        assert asked["History Policy"] == "Keep Last"
        qos = QoSProfile(depth=asked["Depth"], reliability=RELIABILITY[asked["Reliability Policy"]],
                         durability=DURABILITY[asked["Durability Policy"]])
        assert qos_check_compatible(publisher.qos_profile, qos)[0] != QoSCompatibility.ERROR, topic
    assert view["Global Options"]["Fixed Frame"] == "base_link"


def panels_of(tree):
    """The panels that a Foxglove layout shows."""
    return {tree} if isinstance(tree, str) else panels_of(tree["first"]) | panels_of(tree["second"])


def test_foxglove(published):
    layout = json.loads((CONFIG / "drive_seg.foxglove.json").read_text())
    panels = layout["configById"]
    assert panels_of(layout["layout"]) == set(panels)
    pictures = {p["imageMode"]["imageTopic"] for p in panels.values() if "imageMode" in p}
    ground = {topic for p in panels.values() for topic in p.get("topics", {})}
    texts = {p["topicPath"].partition(".")[0] for p in panels.values() if "topicPath" in p}
    assert (pictures, ground) == (PICTURES, GROUND)
    assert texts == {"/drive_seg/health", "/drive_seg/label_table"}
    assert {published[topic].msg_type for topic in pictures} == {Image}
    assert {published[topic].msg_type for topic in texts} == {String}
    assert ground <= set(published)
    assert published[panels["DiagnosticSummary!checks"]["topicToRender"]].msg_type is DiagnosticArray
