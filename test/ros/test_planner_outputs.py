"""What a planner subscribes to besides masks: grid, scan, points, label info, health."""

import json
import math
import threading
import time

import numpy as np
import pytest
from camera_messages import header, image, pixels
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool

from drive_seg.core.classes import Group
from drive_seg.ros.label_info import LATCHED

MOUNTED = {"camera_height": 1.5, "camera_pitch": 0.05, "camera_x": 1.0, "frozen_timeout": 0.0}


def camera_info(width=640, height=360, focal=500.0):
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    info.header.frame_id = "camera_front"
    info.k = [focal, 0.0, width / 2 - 0.5, 0.0, focal, height / 2 - 0.5, 0.0, 0.0, 1.0]
    info.d = [0.0] * 5
    return info


def start(graph, network, info=None, **parameters):
    node = graph.segmentation(network=str(network), engine="openvino", **(MOUNTED | parameters))
    camera, infos = graph.publisher(Image, "image"), graph.publisher(CameraInfo, "camera_info")
    assert graph.connected(camera, infos)
    if info is not None:
        infos.publish(info)
        assert graph.spin_until(lambda: node.active.geometry.camera_info is not None)
    return node, camera


def subscribed(graph, node, *topics):
    publishers = {o.topic.removeprefix("~/"): p for o, p in node.configured.publishers.items()}
    assert graph.spin_until(lambda: all(publishers[t].get_subscription_count() for t in topics))


def collect(graph, **kinds):
    return {topic: graph.collect(kind, f"/drive_seg/{topic}") for topic, kind in kinds.items()}


def show_until(graph, camera, message, done, seconds=20.0):
    """Publish one image again and again until something holds: tables take a while, and a frame may be replaced."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        camera.publish(message)
        graph.spin_for(0.05)
    return done()


def show(graph, camera, message, received, seconds=20.0):
    """The same until there is something of everything."""
    return show_until(graph, camera, message, lambda: all(received.values()), seconds)


def test_no_frame_waits_for_the_ground_s_tables(graph, colour_network_path, scene, monkeypatch):
    from drive_seg.outputs import ground

    built, may_build = ground.MountedCamera, threading.Event()
    monkeypatch.setattr(ground, "MountedCamera", lambda *a: (may_build.wait(60), built(*a))[1])
    node, camera = start(graph, colour_network_path, camera_info())
    received = collect(graph, labels=Image, grid=OccupancyGrid)
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    subscribed(graph, node, *received)
    for number in range(10):
        camera.publish(image(scene, number))
        assert graph.spin_until(lambda n=number: len(received["labels"]) > n)
    assert graph.spin_until(lambda: any("being made" in m.data for m in health))
    assert not received["grid"]
    may_build.set()
    assert show(graph, camera, image(scene, 99), received)
    assert show_until(graph, camera, image(scene, 100), lambda: "geometry" not in health[-1].data)


def test_health_tells_the_newest_reason(graph, colour_network_path, scene):
    """Its level stays as it was; what to do about it does not."""
    node, camera = start(graph, colour_network_path, camera_pitch=-1.2)
    received = collect(graph, grid=OccupancyGrid)
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    subscribed(graph, node, *received)
    infos = graph.publisher(CameraInfo, "camera_info")
    assert graph.connected(infos)

    def reported(reason, **publish):
        camera.publish(image(scene))
        if publish:
            infos.publish(publish["info"])
        graph.spin_for(0.05)
        return health and reason in health[-1].data

    assert graph.spin_until(lambda: reported("no CameraInfo has come"))
    assert graph.spin_until(lambda: reported("sees no ground", info=camera_info()))


def test_everything_is_compiled_when_the_node_is_configured(graph, colour_network_path, scene):
    from drive_seg.core import drivable, grid, ground, overlay, points, scan
    from drive_seg.core.health import lens, sparse

    compiled = [drivable._reach, ground._walk, grid._fill, scan._ranges, points._show, overlay._blend, lens._thumb,
                lens._tiles, sparse.trust, sparse.changed, sparse.lower_share]
    node, camera = start(graph, colour_network_path, camera_info())
    before = [len(function.signatures) for function in compiled]
    assert all(before)
    received = collect(graph, labels=Image, drivable_area=Image, overlay=Image, grid=OccupancyGrid, scan=LaserScan,
                       points=PointCloud2)
    subscribed(graph, node, *received)
    assert show(graph, camera, image(scene), received)
    assert [len(function.signatures) for function in compiled] == before


def test_grid_scan_and_points_fit_the_labels(graph, colour_network_path, scene):
    node, camera = start(graph, colour_network_path, camera_info())
    received = collect(graph, labels=Image, grid=OccupancyGrid, scan=LaserScan, points=PointCloud2)
    subscribed(graph, node, *received)
    sent = image(scene, 3)
    assert show(graph, camera, sent, received)
    labels, grid, scan, points = (messages[0] for messages in received.values())
    assert labels.header == sent.header
    for message in (grid, scan, points):
        assert message.header.stamp == sent.header.stamp and message.header.frame_id == "base_link"

    assert (grid.info.height, grid.info.width, len(grid.data)) == (300, 400, 120000)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (0.0, -15.0)
    assert grid.info.origin.orientation.w == 1.0 and grid.info.resolution == pytest.approx(0.1)
    cells = np.array(grid.data).reshape(300, 400)
    assert set(np.unique(cells)) == {-1, 0, 100}
    assert cells[150, 80] == 0  # 8 m ahead is road
    assert (cells[:, :20] == -1).all()  # below the image's edge

    assert scan.angle_min < 0 < scan.angle_max and scan.range_min < scan.range_max
    assert len(scan.ranges) == round((scan.angle_max - scan.angle_min) / scan.angle_increment) + 1

    assert (points.height, points.width) == (labels.height, labels.width)
    assert [(f.name, f.offset, f.datatype) for f in points.fields] == [("x", 0, 7), ("y", 4, 7), ("z", 8, 7)]
    cloud = np.frombuffer(points.data, np.float32).reshape(points.height, points.width, 3)
    row, column = 330, 320
    assert pixels(labels)[row, column] == Group.ROAD
    angle = 0.05 + math.atan((row - 179.5) / 500)
    assert cloud[row, column, 0] == pytest.approx(1.0 + 1.5 / math.tan(angle), rel=1e-3)
    assert np.isnan(cloud[:100]).all()


@pytest.mark.parametrize(("info", "parameters", "words"), [
    (None, {}, "no CameraInfo"),
    (camera_info(1280, 720), {}, "another camera's"),
    (camera_info(focal=0.0), {}, "not calibrated"),
    (camera_info(), {"camera_height": 0.0}, "set camera_height"),
    (camera_info(), {"camera_pitch": -1.0}, "sees no ground"),
])
def test_without_a_view_of_the_ground_masks_still_come_and_health_says_why(graph, colour_network_path, scene, info,
                                                                          parameters, words):
    node, camera = start(graph, colour_network_path, info, **parameters)
    received = collect(graph, labels=Image, grid=OccupancyGrid)
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    subscribed(graph, node, *received)
    numbers = iter(range(1000))

    def reported():  # what is wrong with a view shows when its tables are made, beside the frames that come meanwhile
        camera.publish(image(scene, next(numbers)))
        graph.spin_for(0.05)
        return len(received["labels"]) >= 3 and any("DEGRADED" in m.data and words in m.data for m in health)

    assert graph.spin_until(reported, 20), health
    assert not received["grid"]


def test_label_tables_reach_who_comes_late(graph, colour_network_path):
    start(graph, colour_network_path)
    graph.spin_for(0.2)
    tables = graph.collect(String, "/drive_seg/label_table", LATCHED)
    assert graph.spin_until(lambda: tables)
    table = json.loads(tables[0].data)
    assert {row["id"]: row["name"] for row in table["labels"]} == {
        0: "background", 1: "road", 2: "pavement", 3: "obstacle", 255: "unknown"}
    assert all({"id", "name", "label", "colour", "drivable"} <= row.keys() for row in table["classes"])


def test_label_info_where_vision_msgs_is_installed(graph, colour_network_path):
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (it is not on PyPI)")
    start(graph, colour_network_path)
    received = graph.collect(messages.LabelInfo, "/drive_seg/label_info", LATCHED)
    assert graph.spin_until(lambda: received)
    assert {c.class_id: c.class_name for c in received[0].class_map}[255] == "unknown"


def test_diagnostics_come_every_second_with_one_status_a_check(graph, colour_network_path):
    start(graph, colour_network_path)
    arrays = graph.collect(DiagnosticArray, "/diagnostics")
    assert graph.spin_until(lambda: len(arrays) >= 2)
    assert {s.name for s in arrays[-1].status} == {
        f"drive_seg: {c}" for c in ("camera", "engine", "frames", "geometry", "latency", "network", "output")}
    assert engine_values(arrays[-1])["engine"] == "openvino"


def engine_values(array):
    engine = next(s for s in array.status if s.name.endswith("engine"))
    return {v.key: v.value for v in engine.values}


def test_diagnostics_tell_the_engine_s_memory_and_only_while_it_is_fresh(graph, colour_network_path, scene):
    node, camera = start(graph, colour_network_path)
    arrays = graph.collect(DiagnosticArray, "/diagnostics")
    camera.publish(image(scene))  # also when nobody wants masks
    assert graph.spin_until(lambda: arrays and "memory" in engine_values(arrays[-1]))
    assert int(engine_values(arrays[-1])["memory"].split()[0]) > 50
    old = node.configured.pipeline.monitor.statuses(node.get_clock().now().nanoseconds / 1e9 + 10)
    assert "memory" not in next(s for s in old if s.name == "engine").values


def test_diagnostics_tell_a_change_before_the_second_is_over(graph, colour_network_path):
    """With the time of the node's clock."""
    node, _ = start(graph, colour_network_path)
    arrays = graph.collect(DiagnosticArray, "/diagnostics")
    assert graph.spin_until(lambda: arrays)
    now = node.get_clock().now().nanoseconds
    node.configured.pipeline.monitor.failed("engine", "it broke", "mend it", now / 1e9)
    assert graph.spin_until(lambda: any(s.message == "it broke: mend it" for s in arrays[-1].status), 0.6)
    assert next(s for s in arrays[-1].status if s.name.endswith("engine")).level == b"\x02"
    stamp = arrays[-1].header.stamp
    assert 0 <= stamp.sec * 10**9 + stamp.nanosec - now < 10**9


def states(messages):
    return [json.loads(m.data)["state"] for m in messages]


@pytest.mark.parametrize("policy", ["silent", "unknown"])
def test_a_camera_fault_stops_the_masks_or_makes_them_unknown(graph, colour_network_path, scene, policy):
    node, camera = start(graph, colour_network_path, camera_info(), fault_policy=policy)
    received = collect(graph, labels=Image, drivable_area=Image, grid=OccupancyGrid)
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    subscribed(graph, node, *received)
    assert show(graph, camera, image(scene, 0), received)
    assert pixels(received["labels"][0])[340, 320] == Group.ROAD
    black = np.zeros_like(scene)
    for number in range(1, 200):
        camera.publish(image(black, number))
        graph.spin_for(0.03)
        if node.active.worker.counts["camera_fault"] >= 3:
            break
    assert graph.spin_until(lambda: states(health)[-1] == "FAULT")
    assert "black" in health[-1].data and "uncover the lens" in health[-1].data
    before = {topic: len(messages) for topic, messages in received.items()}
    camera.publish(image(black, 300))
    if policy == "silent":
        graph.spin_for(0.5)
        assert {topic: len(messages) for topic, messages in received.items()} == before
    else:
        assert show_until(graph, camera, image(black, 300), lambda: all(
            m[-1].header.stamp == header(300).stamp for m in received.values()))
        assert (pixels(received["labels"][-1]) == 255).all() and not pixels(received["drivable_area"][-1]).any()
        assert set(received["grid"][-1].data) == {-1}
    for number in range(301, 500):
        camera.publish(image(scene, number))
        graph.spin_for(0.03)
        if received["labels"][-1].header.stamp.sec >= header(301).stamp.sec and states(health)[-1] != "FAULT":
            break
    assert graph.spin_until(lambda: pixels(received["labels"][-1])[340, 320] == Group.ROAD)


def test_silence_becomes_a_fault(graph, colour_network_path):
    start(graph, colour_network_path, camera_timeout=0.3)
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    assert graph.spin_until(lambda: health and states(health)[-1] == "FAULT")
    assert "no image for" in health[-1].data


def test_a_missed_latency_budget_is_met_with_a_smaller_input(graph, colour_network_path, scene):
    node, camera = start(graph, colour_network_path, latency_budget=60.0)
    labels = graph.collect(Image, "/drive_seg/labels")
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    subscribed(graph, node, "labels")
    full = node.configured.pipeline.segmenter.engine
    quick, full.decode = full.decode, lambda *a: (time.sleep(0.15), quick(*a))[1]  # the injected slow-down
    numbers = iter(range(1000))

    def show(number):
        camera.publish(image(scene, number))
        assert graph.spin_until(lambda: labels and labels[-1].header == header(number))

    end = time.monotonic() + 20
    while node.configured.pipeline.segmenter.engine is full and time.monotonic() < end:
        show(next(numbers))
    assert node.configured.pipeline.segmenter.engine.input_size == (64, 128)
    show(next(numbers))
    assert pixels(labels[-1]).shape == (360, 640) and pixels(labels[-1])[340, 320] == Group.ROAD
    assert graph.spin_until(lambda: "128x64" in health[-1].data and states(health)[-1] == "DEGRADED")
    for active in (False, True):
        assert graph.call(SetBool, "/drive_seg/enable", SetBool.Request(data=active)).success
    assert node.configured.pipeline.segmenter.engine is full


def test_enable_pauses_and_resumes(graph, colour_network_path, scene):
    node, camera = start(graph, colour_network_path)
    labels = graph.collect(Image, "/drive_seg/labels")
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    assert graph.call(SetBool, "/drive_seg/enable", SetBool.Request(data=False)).success
    assert graph.spin_until(lambda: camera.get_subscription_count() == 0)
    assert graph.spin_until(lambda: states(health)[-1] == "INACTIVE")
    assert graph.call(SetBool, "/drive_seg/enable", SetBool.Request(data=True)).success
    assert graph.connected(camera)
    subscribed(graph, node, "labels")
    camera.publish(image(scene, 1))
    assert graph.spin_until(lambda: labels)


def test_a_smaller_input_that_fails_its_self_test_is_never_used(graph, colour_network, tmp_path, monkeypatch):
    from colours import write_colour_network

    from drive_seg import pipeline as module
    from drive_seg.core.segmenter import Segmenter
    from drive_seg.core.selftest import SelfTestError, record_answer
    from drive_seg.runtimes import open_engine

    engine = open_engine("openvino", colour_network)
    answer = record_answer(Segmenter(engine, colour_network.table)).to_dict()
    engine.close()
    check = module.check_answer

    def computes_wrongly_when_small(segmenter, expected):
        check(segmenter, expected)
        if segmenter.engine.input_size != colour_network.input_size:
            raise SelfTestError("self-test failed")

    monkeypatch.setattr(module, "check_answer", computes_wrongly_when_small)
    node = graph.segmentation(network=str(write_colour_network(tmp_path, self_test=answer)), engine="openvino",
                              latency_budget=60.0)
    assert node.active is not None and node.configured.model.spares == []
