"""The real node on a real graph: what goes in, what comes out, and what it survives."""

import functools
import gc
import threading

import cv2
import numpy as np
import pytest
import rclpy
from camera_messages import header, image, jpeg, pixels
from colours import paint_scene, write_colour_network
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from drive_seg.core.classes import Group
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import SelfTest, record_answer
from drive_seg.ros.node import SegmentationNode
from drive_seg.runtimes import open_engine
from drive_seg.settings import TABLE

MASKS = ("labels", "classes", "drivable_area", "confidence")


@pytest.fixture
def node(graph, colour_network_path):
    return graph.segmentation(network=str(colour_network_path), engine="openvino")


def outputs(graph, *names) -> dict[str, list]:
    kinds = {"overlay/compressed": CompressedImage}
    return {name: graph.collect(kinds.get(name, Image), f"/drive_seg/{name}") for name in names}


def show(graph, camera, message, received, count=1) -> bool:
    """Publish one image and wait for its results."""
    before = {name: len(messages) for name, messages in received.items()}
    camera.publish(message)
    return graph.spin_until(lambda: all(len(m) >= before[name] + count for name, m in received.items()))


def ready(graph, node, camera, names) -> None:
    assert graph.connected(camera)
    publishers = {o.topic.removeprefix("~/"): p for o, p in node.configured.publishers.items()}
    assert graph.spin_until(lambda: all(publishers[name].get_subscription_count() for name in names))


@pytest.fixture
def camera(graph):
    return graph.publisher(Image, "image")


def test_masks_carry_the_header_and_size_of_their_image(graph, node, camera, scene):
    received = outputs(graph, *MASKS)
    ready(graph, node, camera, MASKS)
    sent = image(scene, 7)
    assert show(graph, camera, sent, received)
    for name in MASKS:
        (message,) = received[name]
        assert message.header == sent.header
        assert (message.encoding, message.height, message.width, message.step) == ("mono8", 360, 640, 640)
    labels, drivable = pixels(received["labels"][0]), pixels(received["drivable_area"][0])
    assert labels[340, 320] == Group.ROAD and labels[60, 320] == Group.BACKGROUND and labels[340, 40] == Group.PAVEMENT
    assert drivable[340, 320] == 255 and set(np.unique(drivable)) == {0, 255}
    assert pixels(received["confidence"][0])[340, 320] > 250
    assert node.configured.pipeline.segmenter.table.names[pixels(received["classes"][0])[340, 320]] == "road"


@pytest.mark.parametrize(("encoding", "padding", "code"), [
    ("bgr8", 11, None), ("rgb8", 0, cv2.COLOR_BGR2RGB), ("bgra8", 0, cv2.COLOR_BGR2BGRA),
    ("rgba8", 5, cv2.COLOR_BGR2RGBA),
])
def test_encodings_and_row_padding(graph, node, camera, scene, encoding, padding, code):
    received = outputs(graph, "labels")
    ready(graph, node, camera, received)
    converted = scene if code is None else cv2.cvtColor(scene, code)
    assert show(graph, camera, image(converted, encoding=encoding, padding=padding), received)
    assert pixels(received["labels"][0])[340, 320] == Group.ROAD


def test_the_size_may_change_in_mid_stream(graph, node, camera):
    received = outputs(graph, "labels", "drivable_area", "overlay")
    ready(graph, node, camera, received)
    for number, size in enumerate([(360, 640), (241, 333), (720, 1280), (360, 640)]):
        assert show(graph, camera, image(paint_scene(*size), number), received)
        assert all((m[-1].height, m[-1].width) == size for m in received.values())


def test_compressed_images(graph, colour_network_path, scene):
    node = graph.segmentation(network=str(colour_network_path), image_transport="compressed")
    camera = graph.publisher(CompressedImage, "image/compressed")
    received = outputs(graph, "labels", "overlay/compressed")
    ready(graph, node, camera, received)
    assert show(graph, camera, jpeg(scene, 3), received)
    assert received["labels"][0].header == header(3)
    assert pixels(received["labels"][0])[340, 320] == Group.ROAD
    overlay = cv2.imdecode(np.frombuffer(received["overlay/compressed"][0].data, np.uint8), cv2.IMREAD_COLOR)
    assert overlay.shape == scene.shape
    camera.publish(CompressedImage(header=header(4), format="jpeg", data=b"no jpeg"))
    assert graph.spin_until(lambda: node.active.worker.counts["bad_message"] == 1)
    assert show(graph, camera, jpeg(scene, 5), received)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"encoding": "bgr99"}, "unknown encoding"),
    ({"encoding": ""}, "no encoding"),
    ({"step": 3}, "step too small"),
    ({"height": 999}, "data shorter than step x height"),
    ({"height": 0, "width": 0}, "zero size"),
    ({"data": b""}, "no data"),
])
def test_a_malformed_image_costs_a_warning_not_the_node(graph, node, camera, scene, changes, reason):
    received = outputs(graph, "labels")
    ready(graph, node, camera, received)
    camera.publish(image(scene, 1, **changes))
    assert graph.spin_until(lambda: node.active.worker.counts["bad_message"] == 1), reason
    graph.spin_for(0.1)
    assert not received["labels"]  # never a made-up mask
    assert show(graph, camera, image(scene, 2), received)
    assert received["labels"][0].header == header(2)


def test_what_nobody_subscribes_to_is_not_computed(graph, node, camera, scene):
    assert graph.connected(camera)
    camera.publish(image(scene))
    assert graph.spin_until(lambda: node.active.worker.counts["idle"] == 1)
    assert not node.active.worker.stages
    received = outputs(graph, "labels")
    ready(graph, node, camera, received)
    assert show(graph, camera, image(scene), received)
    assert graph.spin_until(lambda: node.active.worker.stages)
    assert "drivable" not in node.active.worker.stages[-1]  # nobody asked for it
    more = outputs(graph, "drivable_area")
    ready(graph, node, camera, more)
    assert show(graph, camera, image(scene), more)
    assert graph.spin_until(lambda: "drivable" in node.active.worker.stages[-1])


def test_masks_in_the_network_size(graph, node, camera, scene):
    received = outputs(graph, *MASKS, "overlay")
    ready(graph, node, camera, received)
    answer = graph.call(SetParameters, "/drive_seg/set_parameters", SetParameters.Request(
        parameters=[Parameter("output_size", value="network").to_parameter_msg()]))
    assert answer.results[0].successful
    assert show(graph, camera, image(scene), received)
    assert all((m[-1].height, m[-1].width) == (96, 160) for m in received.values())


def set_parameter(graph, name, value):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return graph.call(SetParameters, "/drive_seg/set_parameters", request).results[0]


def test_live_parameters_take_effect_at_once(graph, node, camera, scene):
    received = outputs(graph, "drivable_area")
    ready(graph, node, camera, received)
    assert show(graph, camera, image(scene), received)
    assert pixels(received["drivable_area"][-1]).any()
    assert set_parameter(graph, "min_confidence", 1.0).successful
    assert set_parameter(graph, "start_width", 0.0).successful
    scene[-80:, 300:340] = (20, 30, 200)
    assert show(graph, camera, image(scene), received)
    assert not pixels(received["drivable_area"][-1]).any()


@pytest.mark.parametrize(("name", "value", "reason"), [
    ("min_confidence", 1.5, "min_confidence"),
    ("output_size", "huge", "one of camera, network"),
    ("image_transport", "compressed", "read when the node is configured"),
    ("network", "/nowhere.onnx", "read when the node is configured"),
    ("min_confidence", "high", "type"),
])
def test_bad_parameters_are_refused_with_a_reason(graph, node, name, value, reason):
    before = node.get_parameter(name).value
    answer = set_parameter(graph, name, value)
    assert not answer.successful and reason in answer.reason
    assert node.get_parameter(name).value == before
    assert getattr(node.settings, name) == before


def test_a_parameter_may_be_set_to_what_it_is(graph, node):
    """As `ros2 param load` does with the node's own file."""
    for name in ("engine", "strictness", "image_transport"):
        assert set_parameter(graph, name, node.get_parameter(name).value).successful


def test_parameters_describe_themselves(graph, node):
    names = list(TABLE)
    answer = graph.call(DescribeParameters, "/drive_seg/describe_parameters", DescribeParameters.Request(names=names))
    assert all(d.description for d in answer.descriptors)


def state(graph) -> int:
    return graph.call(GetState, "/drive_seg/get_state", GetState.Request()).current_state.id


def change(graph, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return graph.call(ChangeState, "/drive_seg/change_state", request).success


def test_the_life_cycle_from_outside(graph, colour_network_path, scene):
    node = graph.segmentation(network=str(colour_network_path), autostart=False)
    camera = graph.publisher(Image, "image")
    assert state(graph) == State.PRIMARY_STATE_UNCONFIGURED
    for _ in range(2):  # and all of it again
        assert change(graph, Transition.TRANSITION_CONFIGURE)
        assert state(graph) == State.PRIMARY_STATE_INACTIVE
        assert node.active is None and camera.get_subscription_count() == 0
        assert change(graph, Transition.TRANSITION_ACTIVATE)
        received = outputs(graph, "labels")
        ready(graph, node, camera, received)
        assert show(graph, camera, image(scene), received)
        assert change(graph, Transition.TRANSITION_DEACTIVATE)
        assert graph.spin_until(lambda: camera.get_subscription_count() == 0)
        assert change(graph, Transition.TRANSITION_CLEANUP)
        assert state(graph) == State.PRIMARY_STATE_UNCONFIGURED
    assert change(graph, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)


def test_a_destroyed_node_leaves_nothing_in_the_graph(graph, domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    gc.disable()  # it would do by chance what destroy_node has to do
    try:
        node = SegmentationNode(context=context, parameter_overrides=[Parameter("autostart", value=False)])
        found = functools.partial(graph.client.get_subscriptions_info_by_topic,
                                  "rq/drive_seg/get_stateRequest", no_mangle=True)
        assert graph.spin_until(lambda: len(found()) == 1)
        node.close()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
        assert graph.spin_until(lambda: not found())
    finally:
        gc.enable()


def test_configuring_from_outside_leaves_the_node_answering(graph, colour_network_path, monkeypatch):
    go_on = threading.Event()

    def slowly(*arguments, **options):  # as building a plan is
        assert go_on.wait(30)
        return open_engine(*arguments, **options)

    monkeypatch.setattr("drive_seg.pipeline.open_engine", slowly)
    graph.segmentation(network=str(colour_network_path), autostart=False)
    client = graph.client.create_client(ChangeState, "/drive_seg/change_state")
    assert graph.spin_until(client.service_is_ready)
    answer = client.call_async(ChangeState.Request(transition=Transition(label="configure")))
    try:
        assert graph.spin_until(lambda: state(graph) == State.TRANSITION_STATE_CONFIGURING)
        assert not set_parameter(graph, "min_confidence", 2.0).successful, "it answers, and minds its limits"
        assert not answer.done()
    finally:
        go_on.set()
    assert graph.spin_until(answer.done) and answer.result().success
    assert state(graph) == State.PRIMARY_STATE_INACTIVE


def test_parameters_set_while_it_configures_are_used_or_refused(graph, colour_network_path, monkeypatch):
    go_on = threading.Event()

    def slowly(*arguments, **options):
        assert go_on.wait(30)
        return open_engine(*arguments, **options)

    monkeypatch.setattr("drive_seg.pipeline.open_engine", slowly)
    node = graph.segmentation(network=str(colour_network_path), autostart=False)
    thread = threading.Thread(target=node.trigger_configure)
    thread.start()
    try:
        assert graph.spin_until(lambda: node.settings is not None)
        assert set_parameter(graph, "min_confidence", 0.95).successful
        assert "read when the node is configured" in set_parameter(graph, "strictness", 5.0).reason
    finally:
        go_on.set()
        thread.join(30)
    assert state(graph) == State.PRIMARY_STATE_INACTIVE
    assert node.configured.pipeline.segmenter.rule.min_confidence == 0.95
    assert change(graph, Transition.TRANSITION_CLEANUP)
    assert set_parameter(graph, "strictness", 5.0).successful, "it is configured no more"


def test_an_engine_that_is_not_used_is_closed(graph, colour_network_path, tmp_path, monkeypatch):
    opened = []

    def noted(*arguments, **options):
        opened.append(open_engine(*arguments, **options))
        monkeypatch.setattr(opened[-1], "close", lambda: opened.append("closed"))
        return opened[0]

    monkeypatch.setattr("drive_seg.pipeline.open_engine", noted)
    (tmp_path / "mask.png").write_text("no image")
    graph.segmentation(network=str(colour_network_path), ego_mask=str(tmp_path / "mask.png"))
    assert state(graph) == State.PRIMARY_STATE_UNCONFIGURED
    assert opened[1:] == ["closed"]


def test_a_missing_network_leaves_the_node_alive_and_fixable(graph, colour_network_path, tmp_path, scene):
    node = graph.segmentation(network=str(tmp_path / "gone.onnx"))
    assert state(graph) == State.PRIMARY_STATE_UNCONFIGURED
    assert set_parameter(graph, "network", str(colour_network_path)).successful
    assert change(graph, Transition.TRANSITION_CONFIGURE)
    assert change(graph, Transition.TRANSITION_ACTIVATE)
    camera, received = graph.publisher(Image, "image"), outputs(graph, "labels")
    ready(graph, node, camera, received)
    assert show(graph, camera, image(scene), received)


@pytest.mark.parametrize("parameters", [
    {"engine": "abacus"}, {"input_height": 100, "input_width": 160}, {"input_height": 96}, {"ego_mask": "/nowhere.png"},
])
def test_parameters_that_can_not_work_leave_it_unconfigured(graph, colour_network_path, parameters):
    graph.segmentation(network=str(colour_network_path), **parameters)
    assert state(graph) == State.PRIMARY_STATE_UNCONFIGURED


@pytest.mark.parametrize("right", [True, False])
def test_an_engine_that_fails_the_self_test_is_not_configured(graph, colour_engine, colour_network, tmp_path, right):
    answer = record_answer(Segmenter(colour_engine, colour_network.table))
    if not right:
        answer = SelfTest((answer.classes + 1) % 5, answer.confidence)
    path = write_colour_network(tmp_path, self_test=answer.to_dict())
    graph.segmentation(network=str(path), engine="openvino")
    assert state(graph) == (State.PRIMARY_STATE_ACTIVE if right else State.PRIMARY_STATE_UNCONFIGURED)


def test_an_engine_that_fails_publishes_nothing_and_the_node_goes_on(graph, node, camera, scene, monkeypatch):
    received = outputs(graph, "labels")
    ready(graph, node, camera, received)
    engine = node.configured.model.engine
    monkeypatch.setattr(engine, "infer", lambda image: np.full((5, 24, 40), np.nan, np.float32))
    camera.publish(image(scene, 1))
    assert graph.spin_until(lambda: node.active.worker.counts["engine_error"] == 1)
    monkeypatch.undo()
    assert show(graph, camera, image(scene, 2), received)
    assert [m.header for m in received["labels"]] == [header(2)]


def test_a_silent_camera_and_a_second_camera_are_said(graph, colour_network_path, capfd):
    graph.segmentation(network=str(colour_network_path), camera_timeout=0.2)
    graph.spin_for(1.3)
    assert "nobody publishes there" in capfd.readouterr().err
    one, two = graph.publisher(Image, "image"), graph.publisher(Image, "image")
    graph.connected(one, two)
    graph.spin_for(1.3)
    assert "2 nodes publish on /image" in capfd.readouterr().err
