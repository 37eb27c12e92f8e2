"""Several cameras in one node: topics and settings of their own, one engine, one ground; a fault stays where it is."""

import importlib.util
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from camera_messages import image, pixels
from geometry_msgs.msg import TransformStamped
from host_gpu import HostGpu, HostRunner, build_kernels
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import String
from std_srvs.srv import SetBool

from drive_seg import pipeline
from drive_seg.core.around import Motion, moved
from drive_seg.core.frame import Frame
from drive_seg.core.ground import CameraPose
from drive_seg.core.health.status import Health
from drive_seg.ros.joint import JointGround
from drive_seg.ros.label_info import LATCHED
from drive_seg.ros.transforms import TransformError
from drive_seg.runtimes.tensorrt.builder import batch_sizes
from drive_seg.runtimes.tensorrt.engine import TensorRtEngine

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
        self.late = dict.fromkeys(YAWS, 0.0)
        """Seconds by which each camera's picture is older than the newest of its time."""

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
        """Publish one picture of each of these cameras, of one time but for `late`."""
        self.number += 1
        for name, picture in pictures.items():
            self.infos[name].publish((infos or {}).get(name) or self.info(name, picture))
            message = image(picture, self.number)
            message.header.stamp.nanosec = STAMP_NS - round(self.late[name] * 1e9)
            message.header.frame_id = name
            self.images[name].publish(message)

    def drive(self, pictures, done, timeout=40.0, infos=None):
        """Show pictures again and again until something has come."""
        def step():
            self.show(pictures, infos)
            self.graph.spin_for(0.1)
            return done()
        return self.graph.spin_until(step, timeout)


STAMP_NS = 900_000_000
"""When all pictures are taken, within their second."""


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
    assert [p.segmenter.rule.min_confidence for p in pipelines.values()] == [0.5, 0.65, 0.65]
    assert len({id(p.model) for p in pipelines.values()}) == 1, "one network"

    def change(name, value):
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return graph.call(SetParameters, "/drive_seg/set_parameters", request).results[0]

    assert change("right.min_confidence", 0.9).successful
    assert [p.segmenter.rule.min_confidence for p in pipelines.values()] == [0.5, 0.65, 0.9]
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


def test_a_camera_that_was_switched_off_stays_so_when_the_node_is_configured_again(vehicle, graph):
    node = vehicle().node
    assert graph.call(SetBool, "/drive_seg/left/enable", SetBool.Request(data=False)).success
    for trigger in (node.trigger_deactivate, node.trigger_cleanup, node.trigger_configure, node.trigger_activate):
        trigger()
    assert set(node.cameras) == {"front", "right"}
    (left,) = (status for status in node.configured.joint.statuses(node.now()) if status.name == "left")
    assert "switched off" in left.reason


@pytest.mark.parametrize("newest, moved", [(2.1, 1.05), (2.0, 1.05), (1.8, None)])
def test_odometry_that_lags_moves_as_it_did_just_before(newest, moved):
    """15 m/s; the pictures are of 2.02 and 2.09 s."""
    def at(target, header):
        asked = header.stamp.sec + header.stamp.nanosec / 1e9
        if asked > newest + 0.2:
            raise TransformError("too old")
        message = TransformStamped(child_frame_id=header.frame_id)
        time_ns = round(min(asked, newest) * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, 10**9)
        message.transform.translation.x = 15 * time_ns / 1e9
        return message

    ground = object.__new__(JointGround)
    ground._transforms, ground._base, ground._odom = SimpleNamespace(at=at), "base_link", "odom"
    motion = ground._motion(2_020_000_000, 2_090_000_000)
    assert (motion is None) if moved is None else abs(motion.x) == pytest.approx(moved)


@pytest.fixture
def tf2(monkeypatch):
    """tf2_ros where it is installed; else a stand-in that sends transforms over DDS and looks up the latest at a time.
    It knows one pair of frames."""
    if importlib.util.find_spec("tf2_ros") is not None:
        return importlib.import_module("tf2_ros")
    module = ModuleType("tf2_ros")
    module.TransformException = type("TransformException", (Exception,), {})
    module.ExtrapolationException = type("ExtrapolationException", (module.TransformException,), {})

    class Buffer:
        def __init__(self):
            self._held = {}

        def set_transform(self, transform, authority):
            self._held[stamp(transform)] = transform

        def clear(self):
            self._held.clear()

        def lookup_transform(self, target, source, time):
            if not self._held:
                raise module.TransformException("nothing has come")
            newest = self._held[max(self._held)]
            assert (target, source) == (newest.header.frame_id, newest.child_frame_id)
            if time.nanoseconds > max(self._held):
                raise module.ExtrapolationException("into the future")
            return self._held[time.nanoseconds] if time.nanoseconds else newest

    class TransformListener:
        def __init__(self, buffer, node):
            self._node = node
            self._subscription = node.create_subscription(
                TransformStamped, "/tf", lambda transform: buffer.set_transform(transform, "/tf"), 100)

        def unregister(self):
            self._node.destroy_subscription(self._subscription)

    class TransformBroadcaster:
        def __init__(self, node):
            self.pub_tf = node.create_publisher(TransformStamped, "/tf", 100)

        def sendTransform(self, transform):  # noqa: N802 - as tf2_ros has it
            self.pub_tf.publish(transform)

    module.Buffer, module.TransformListener = Buffer, TransformListener
    module.TransformBroadcaster = TransformBroadcaster
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    return module


def test_what_tf_says_the_vehicle_moved_between_the_pictures_is_compensated(vehicle, graph, scene, tf2):
    """The left camera's pictures are 0.15 s older than the others', in which the vehicle drives 1.2 m round a bend."""
    car = vehicle()
    car.late["left"] = 0.15
    broadcaster = tf2.TransformBroadcaster(graph.client)
    grids = graph.collect(OccupancyGrid, "/drive_seg/grid")
    own = {name: graph.collect(OccupancyGrid, f"/drive_seg/{name}/grid") for name in YAWS}
    shape = car.node.settings.mount.shape

    def pose(stamp_ns):
        angle = (stamp_ns / 1e9 - 1_700_000_000) * 0.4  # radians
        c, s = np.cos(angle), np.sin(angle)
        return CameraPose(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([20 * s, 20 * (1 - c), 0.0])), angle

    def tell(stamp_ns):
        at, angle = pose(stamp_ns)
        message = TransformStamped(child_frame_id="base_link")
        message.header.frame_id = "odom"
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        t, q = message.transform.translation, message.transform.rotation
        t.x, t.y, _ = map(float, at.translation)
        q.z, q.w = float(np.sin(angle / 2)), float(np.cos(angle / 2))
        broadcaster.sendTransform(message)

    def motion():
        (status,) = (s for s in car.node.configured.joint.statuses(car.node.now()) if s.name == "joint ground")
        return status.values.get("motion")

    def joined(after):
        """The newest joint grid of all cameras, and the cameras' own."""
        for grid in grids[:after:-1]:
            parts = [next((cells(o) for o in own[n] if stamp(o) == stamp(grid) - round(car.late[n] * 1e9)), None)
                     for n in YAWS]
            if all(part is not None for part in parts):
                return grid, parts
        return None

    def expected(parts, moved_by):
        front, left, right = parts
        return np.maximum.reduce([front, moved(left, shape, moved_by), right])

    def agree(grid, whole):
        sure = whole != 100  # a contact at an image's side is not believed
        return np.array_equal(cells(grid)[sure], whole[sure])

    def drive(done, with_tf):
        def step():
            for late in (0.15, 0.0):
                if with_tf:
                    tell((1_700_000_000 + car.number + 1) * 10**9 + STAMP_NS - round(late * 1e9))
            graph.spin_for(0.1)
            car.show(dict.fromkeys(YAWS, scene))
            graph.spin_for(0.2)
            return done()
        return graph.spin_until(step, 60.0)

    # Grids of cameras whose tables were not ready are of fewer; those of all follow.
    def whole(with_tf, start):
        found = joined(start)
        if found is None or motion() != ("compensated" if with_tf else "not known"):
            return False
        grid, parts = found
        by = Motion.between(pose(stamp(grid) - 150_000_000)[0], pose(stamp(grid))[0]) if with_tf else Motion()
        return agree(grid, expected(parts, by))

    assert drive(lambda: whole(True, 0), True)
    grid, parts = joined(0)
    by = Motion.between(pose(stamp(grid) - 150_000_000)[0], pose(stamp(grid))[0])
    assert np.hypot(by.x, by.y) == pytest.approx(1.2, abs=0.01) and by.yaw == pytest.approx(-0.06)
    assert (cells(grid) != np.maximum.reduce(parts)).sum() > 100, "it makes a difference"
    start = len(grids)
    assert drive(lambda: whole(False, start), False), "without TF nothing is moved, and that is said"


@pytest.mark.parametrize("fault", ["frozen", "other rate and size"])
def test_moving_pictures_of_the_others_stay_the_same_to_the_byte(vehicle, graph, scene, fault):
    car = vehicle(camera_timeout=20.0, frozen_timeout=1.0)
    health = graph.collect(String, "/drive_seg/health", LATCHED)
    noise = np.random.default_rng(5)

    def picture():
        """Another one in every part, so that no camera is thought covered."""
        height, width = scene.shape[:2]
        rough = np.repeat(np.repeat(noise.integers(-60, 60, (height // 8, width // 8)), 8, 0), 8, 1)[:, :, None]
        return np.clip(scene[:height // 8 * 8, :width // 8 * 8] + rough, 0, 255).astype(np.uint8)

    views = [{name: picture() for name in YAWS} for _ in range(5)]

    def labels(name, start=0):
        """(place of the picture in views, its labels) of what came."""
        return [(m.header.stamp.sec % len(views), pixels(m)) for m in car.labels[name][start:]]

    def step(change=lambda pictures: pictures, done=lambda: False):
        place = (1_700_000_000 + car.number + 1) % len(views)
        car.show(change(dict(views[place])))
        graph.spin_for(0.1)
        return done()

    def learnt():
        """All pictures were answered, and enough came for a camera's usual rate to be known."""
        return car.number > 60 and all(len({place for place, _ in labels(name)}) == len(views) for name in YAWS)

    assert graph.spin_until(lambda: step(done=learnt), 60.0)
    sound = {name: dict(labels(name)) for name in YAWS}
    assert len({picture.tobytes() for picture in sound["front"].values()}) == len(views)
    start = {name: len(messages) for name, messages in car.labels.items()}

    def change(pictures):
        if fault == "frozen":
            return pictures | {"left": views[0]["left"]}
        if car.number % 4:  # no divisor of the number of views: each of its pictures is another
            del pictures["left"]
        else:
            pictures["left"] = np.repeat(np.repeat(pictures["left"], 2, 0), 2, 1)
        return pictures

    words = "the image stands still" if fault == "frozen" else "images a second instead of"

    def named():
        return any(r.startswith("left: camera: ") and words in r for r in json.loads(health[-1].data)["reasons"])

    enough = ("front", "right")
    assert graph.spin_until(lambda: step(change, lambda: named() and all(len(car.labels[n]) > start[n] + 8
                                                                         for n in enough)), 60.0), health[-1].data
    for name in enough:
        after = labels(name, start[name])
        assert all(np.array_equal(picture, sound[name][place]) for place, picture in after), name
    assert json.loads(health[-1].data)["state"] == "DEGRADED"
    assert not any(r.startswith(("front:", "right:")) and "stands still" in r
                   for r in json.loads(health[-1].data)["reasons"])


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


@pytest.fixture
def engine(monkeypatch, tmp_path_factory):
    """What the node opens: the GPU's engine, its kernels built for the processor and its network on ONNX Runtime."""
    opened = []
    kernels = build_kernels(tmp_path_factory.mktemp("kernels"))

    def open_engine(name, network, *, cameras, **options):
        gpu = HostGpu(kernels)
        runners = []
        for batch in reversed(batch_sizes(cameras)):
            runners.append(HostRunner(gpu, network, batch, *runners[:1]))
        opened.append(TensorRtEngine(gpu, runners, network, "fp16", "ONNX Runtime"))
        opened[0].warm_up()
        return opened[0]

    monkeypatch.setattr(pipeline, "open_engine", open_engine)
    return opened


def test_on_a_gpu_frames_that_wait_together_go_at_once_and_each_camera_gets_its_own(vehicle, graph, scene, engine):
    car = vehicle(camera_timeout=20.0)
    (gpu,) = engine
    assert gpu.batches == (1, 2, 3)
    pictures = {name: np.roll(scene, shift, axis=1) for name, shift in (("front", 0), ("left", 70), ("right", 190))}
    wanted = {name: gpu.decode(Frame.from_array(picture), picture.shape[:2], {}).labels
              for name, picture in pictures.items()}
    before = {batch: gpu._runners[batch].runs for batch in gpu.batches}

    def batches():
        return sum(gpu._runners[batch].runs - before[batch] for batch in (2, 3))

    assert car.drive(pictures, lambda: all(len(messages) > 3 for messages in car.labels.values()) and batches() > 3,
                     timeout=300.0)  # the emulated GPU is slow
    # Of one camera the messages can't be read: it drops out of its batches, and nothing else changes.
    after, real = {name: len(messages) for name, messages in car.labels.items()}, car.show

    def show(pictures, infos=None):
        real({name: picture for name, picture in pictures.items() if name != "left"}, infos)
        car.images["left"].publish(image(scene, car.number, height=5000))

    car.show, some = show, batches()
    others = ("front", "right")
    assert car.drive(pictures, lambda: all(len(car.labels[name]) > after[name] + 3 for name in others)
                     and batches() > some + 1, timeout=300.0)
    account = {name: active.worker.account for name, active in car.node.cameras.items()}
    assert int(account["left"]["unusable"]) > 0 and account["front"]["failed"] == account["right"]["failed"] == "0"
    assert len({wanted[name].tobytes() for name in YAWS}) == 3
    for name, messages in car.labels.items():
        assert all(np.array_equal(pixels(message), wanted[name]) for message in messages), name
