"""A CameraInfo of another camera, on real frames: how soon is it reported, and what goes on?"""

import json
import time

import pytest
from camera_messages import image
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from drive_seg.ros.label_info import LATCHED
from drive_seg.sources.clip import CLIPS

LIMIT, LIMIT_OF_REASON = 0.5, 1.6
"""Seconds from publishing the wrong one until health is DEGRADED, and until it says why, at 25 frames a second."""


def camera_info(width, height, frame_id="camera_front"):
    camera = CLIPS["bridge"].camera
    info = CameraInfo(width=width, height=height, distortion_model=camera.model, d=list(camera.distortion),
                      k=list(camera.matrix))
    info.header.frame_id = frame_id
    return info


@pytest.mark.parametrize(("wrong", "words"), [
    (camera_info(1920, 1080), "another camera's"),
    (camera_info(1280, 720, "camera_rear"), "of frame 'camera_rear'"),
    (CameraInfo(width=1280, height=720), "not calibrated"),
])
def test_a_wrong_camera_info_is_reported_and_stops_the_ground_alone(graph, colour_network_path, drive, wrong, words):
    graph.segmentation(network=str(colour_network_path), engine="openvino", camera_height=1.2)
    camera, infos = graph.publisher(Image, "image"), graph.publisher(CameraInfo, "camera_info")
    masks = graph.collect(Image, "/drive_seg/drivable_area")
    grids = graph.collect(OccupancyGrid, "/drive_seg/grid")
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    assert graph.connected(camera, infos)
    numbers = iter(range(10**6))

    def play(info, until, seconds=20.0):
        """Real frames at 25 Hz with this CameraInfo."""
        start = time.monotonic()
        while not until() and time.monotonic() < start + seconds:
            number = next(numbers)
            infos.publish(info)
            camera.publish(image(drive[number % len(drive)], number))
            graph.spin_for(0.04)
        return time.monotonic() - start

    def reported():
        return [m for m in health if words in m.data]

    play(camera_info(1280, 720), lambda: grids and json.loads(health[-1].data)["state"] == "READY")
    assert grids and not reported()
    degraded = play(wrong, lambda: json.loads(health[-1].data)["state"] == "DEGRADED")
    explained = degraded + play(wrong, reported)
    print(f"{words}: DEGRADED after {degraded:.2f} s (at most {LIMIT:g} s), the reason after {explained:.2f} s (at most"
          f" {LIMIT_OF_REASON:g} s)")
    assert degraded <= LIMIT and reported() and explained <= LIMIT_OF_REASON
    graph.spin_for(0.5)  # what was on its way
    before, seen = len(grids), len(masks)
    play(wrong, lambda: len(masks) > seen + 3)
    assert len(masks) > seen + 3 and len(grids) == before
