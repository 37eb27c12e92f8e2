"""The ready-made RViz and Foxglove views show topics that the node publishes."""

import json
from pathlib import Path

import pytest
import yaml

CONFIG = Path(__file__).parents[2] / "config"


def topics_of(name):
    if name.endswith(".json"):
        panels = json.loads((CONFIG / name).read_text())["configById"].values()
        found = {p["imageMode"]["imageTopic"] for p in panels if "imageMode" in p}
        found |= {topic for p in panels for topic in p.get("topics", {})}
        found |= {p["topicPath"].partition(".")[0] for p in panels if "topicPath" in p}
        return found | {p["topicToRender"] for p in panels if "topicToRender" in p}
    displays = yaml.safe_load((CONFIG / name).read_text())["Visualization Manager"]["Displays"]
    return {d["Topic"]["Value"] for d in displays if "Topic" in d}


@pytest.mark.parametrize("name", ["drive_seg.rviz", "drive_seg.foxglove.json"])
def test_every_topic_of_a_view_is_published(graph, colour_network_path, name):
    node = graph.segmentation(network=str(colour_network_path), engine="openvino")
    shown = topics_of(name)
    assert shown <= {publisher.topic_name for publisher in node.publishers}
    assert {"/drive_seg/overlay", "/drive_seg/grid", "/drive_seg/scan", "/drive_seg/points"} <= shown
