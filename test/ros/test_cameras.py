"""Several cameras in one node: topics and settings of their own, one engine, one ground; a fault stays where it is."""

import json

import numpy as np
import pytest
from camera_messages import image, pixels
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import String
from std_srvs.srv import SetBool

from drive_seg.core.health.status import Health
from drive_seg.ros.label_info import LATCHED

YAWS = {"front": 0.0, "left": 1.2, "right": -1.2}
GROUND = {"camera_height": 1.5, "camera_pitch": 0.5, "max_pixel_length": 1.0, "grid_back": -10.0, "grid_front": 10.0,
          "grid_width": 20.0, "camera_tolerance": 0.2, "frozen_timeout": 0.0}


class Vehicle:
    """A node with three cameras, and what drives them."""

    def __init__(self, graph, network, **parameters):
        self.graph = graph
        own = {f"{name}.camera_yaw": yaw for name, yaw in YAWS.items()}
        self.node = graph.segmentation(network=str(network), engine="openvino", cameras=list(YAWS),
                                       **{**GROUND, **own, **parameters})
        self.images = {name: graph.publisher(Image, f"{name}/image") for name in YAWS}
        self.infos = {name: graph.publisher(CameraInfo, f"{name}/camera_info") for name in YAWS}
        self.labels = {name: graph.collect(Image, f"/drive_seg/{name}/labels") for name in YAWS}
        self.number = 0

    def info(self, name, picture, **changes):
        height, width = picture.shape[:2]
        message = CameraInfo(height=height, width=width, distortion_model="plumb_bob")
        message.header.frame_id = name
        message.k = [0.6 * width, 0.0, width / 2, 0.0, 0.6 * width, height / 2, 0.0, 0.0, 1.0]
        message.d = [0.0] * 5
        for field, value in changes.items():
            setattr(message, field, value)
        return message

    def show(self, pictures, infos=None):
        """Publish one picture of each of these cameras, all of one time."""
        self.number += 1
        for name, picture in pictures.items():
            self.infos[name].publish((infos or {}).get(name) or self.info(name, picture))
            message = image(picture, self.number)
            message.header.frame_id = name
            self.images[name].publish(message)

    def drive(self, pictures, done, timeout=40.0, infos=None):
        """Show pictures again and again until something has come."""
        def step():
            self.show(pictures, infos)
            self.graph.spin_for(0.1)
            return done()
        return self.graph.spin_until(step, timeout)


def stamp(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def cells(message):
    return np.array(message.data, np.int8).reshape(message.info.height, message.info.width)


@pytest.fixture
def vehicle(graph, colour_network_path):
    return lambda **parameters: Vehicle(graph, colour_network_path, **parameters)


def test_each_camera_has_its_topics_and_its_own_settings(vehicle, graph, scene):
    car = vehicle(**{"left.output_size": "network", "front.min_confidence": 0.5})
    names = {name for name, _ in graph.client.get_topic_names_and_types()}
    assert {"/front/image", "/left/camera_info", "/drive_seg/right/labels", "/drive_seg/right/grid", "/drive_seg/grid",
            "/drive_seg/scan", "/drive_seg/front/health", "/drive_seg/health"} <= names
    assert "/drive_seg/labels" not in names and "/image" not in names
    assert car.drive(dict.fromkeys(YAWS, scene), lambda: all(car.labels.values()))
    assert (car.labels["front"][-1].height, car.labels["left"][-1].height) == (scene.shape[0], 96)
    assert car.labels["right"][-1].header.frame_id == "right"
    pipelines = {name: camera.pipeline for name, camera in car.node.configured.cameras.items()}
    assert [p.segmenter.rule.min_confidence for p in pipelines.values()] == [0.5, 0.6, 0.6]
    assert len({id(p.model) for p in pipelines.values()}) == 1, "one network"

    def change(name, value):
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return graph.call(SetParameters, "/drive_seg/set_parameters", request).results[0]

    assert change("right.min_confidence", 0.9).successful
    assert [p.segmenter.rule.min_confidence for p in pipelines.values()] == [0.5, 0.6, 0.9]
    refused = change("min_confidence", 0.9)
    assert "min_confidence is each camera's own: set front.min_confidence, left.min_confidence" in refused.reason
    assert "cameras is read when the node starts" in change("cameras", ["front"]).reason
    assert "read when the node is configured" in change("left.ego_mask", "").reason or \
        change("left.ego_mask", "").successful
    assert change("front.weight", 2.0).successful and car.node.configured.cameras["front"].turn.weight == 2.0


def test_one_ground_around_the_vehicle_and_a_camera_that_is_switched_off(vehicle, graph, scene):
    car = vehicle()
    grids, scans = graph.collect(OccupancyGrid, "/drive_seg/grid"), graph.collect(LaserScan, "/drive_seg/scan")
    own = {name: graph.collect(OccupancyGrid, f"/drive_seg/{name}/grid") for name in YAWS}
    health = graph.collect(String, "/drive_seg/health", LATCHED)

    def joined():
        """The newest joint grid, and those of the cameras that it is made of; None where it is not made of all."""
        for grid in grids[::-1]:
            parts = [next((cells(o) for o in own[n] if stamp(o) == stamp(grid)), None) for n in YAWS]
            if all(part is not None for part in parts):
                seen = np.maximum.reduce(parts)
                if all((cells(grid)[(part >= 0) & (part < 100)] >= 0).all() for part in parts):
                    return cells(grid), seen, parts
        return None

    assert car.drive(dict.fromkeys(YAWS, scene), lambda: scans and joined() is not None)
    grid, seen, parts = joined()
    sure = seen != 100  # a contact at an image's side is not believed
    assert np.array_equal(grid[sure], seen[sure]) and (grid <= seen).all()
    assert all((grid >= 0).sum() > (part >= 0).sum() + 100 for part in parts), "more than any camera alone"
    assert scans[-1].header.frame_id == "base_link" and len(scans[-1].ranges) == 720

    answer = graph.call(SetBool, "/drive_seg/left/enable", SetBool.Request(data=False))
    assert answer.success and "left" not in car.node.cameras and set(car.node.cameras) == {"front", "right"}
    before, left = len(grids), len(car.labels["left"])
    assert car.drive(dict.fromkeys(YAWS, scene), lambda: len(grids) > before + 3)
    assert len(car.labels["left"]) <= left + 1
    assert ((cells(grids[-1]) >= 0) & (parts[0] < 0) & (parts[2] < 0)).sum() == 0, "its sector is unknown"
    assert car.drive(dict.fromkeys(YAWS, scene), lambda: any("left" in r and "switched off" in r for r in
                                                            json.loads(health[-1].data)["reasons"]))
    assert json.loads(health[-1].data)["state"] == "DEGRADED"
    assert graph.call(SetBool, "/drive_seg/left/enable", SetBool.Request(data=True)).success
    left = len(car.labels["left"])
    assert car.drive(dict.fromkeys(YAWS, scene), lambda: len(car.labels["left"]) > left)


@pytest.mark.parametrize("fault", ["dead", "black", "other size", "wrong CameraInfo", "broken"])
def test_a_fault_of_one_camera_changes_no_byte_of_the_others_and_health_names_it(vehicle, graph, scene, fault):
    car = vehicle(camera_timeout=3.0)
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    right = {name: np.roll(scene, shift, axis=1) for name, shift in (("front", 0), ("left", 7), ("right", 19))}
    assert car.drive(right, lambda: all(car.labels.values()))
    sound = {name: pixels(messages[-1]) for name, messages in car.labels.items()}
    start = {name: len(messages) for name, messages in car.labels.items()}
    pictures, infos = dict(right), None
    if fault == "dead":
        del pictures["left"]
    elif fault == "black":
        pictures["left"] = np.zeros_like(scene)
    elif fault == "other size":
        pictures["left"] = np.repeat(np.repeat(scene, 2, 0), 2, 1)
    elif fault == "wrong CameraInfo":
        infos = {"left": car.info("left", np.zeros((30, 40, 3)))}
    elif fault == "broken":
        pictures["left"] = scene
    if fault == "broken":
        real = car.show

        def show(pictures, infos=None):
            real({n: p for n, p in pictures.items() if n != "left"}, infos)
            car.images["left"].publish(image(scene, car.number, height=5000))
        car.show = show
    words = "describes 40x30 images" if fault == "wrong CameraInfo" else ""
    if fault == "wrong CameraInfo":
        graph.collect(OccupancyGrid, "/drive_seg/grid")

    def named():
        reasons = json.loads(health[-1].data)["reasons"] if health else []
        return any(r.startswith("left: ") and words in r for r in reasons)

    enough = {"front", "right"}
    assert car.drive(pictures, lambda: all(len(car.labels[n]) > start[n] + 3 for n in enough)
                     and (named() or fault == "other size"), infos=infos)
    for name in enough:
        assert all(np.array_equal(pixels(m), sound[name]) for m in car.labels[name][start[name]:]), name
    monitors = {name: camera.pipeline.monitor for name, camera in car.node.configured.cameras.items()}
    assert all(monitors[name].state(car.node.now())[0] != Health.FAULT for name in enough)
    if fault != "other size":
        assert json.loads(health[-1].data)["state"] == "DEGRADED"
        assert not any(r.startswith(("front: camera", "right: camera", "front: output", "right: output"))
                       for r in json.loads(health[-1].data)["reasons"])
