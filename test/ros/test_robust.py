"""One message must not end or fill the node: a callback that raises, a flood of the same fault, texts from outside."""

import sys
import threading
from types import ModuleType

import pytest
import rclpy
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool

from drive_seg.core.frame import TooLargeError
from drive_seg.ros.active import compressed_topic
from drive_seg.ros.images import to_frame
from drive_seg.ros.log import Throttle
from drive_seg.ros.main import executor_for, spin
from drive_seg.ros.node import SegmentationNode


@pytest.fixture
def go() -> threading.Event:
    """Set it to let the node of `spun` spin."""
    return threading.Event()


@pytest.fixture(params=[[""], ["front", "left"]], ids=["one camera", "two cameras"])
def spun(domain, request, go):
    """The node in the loop of its own process, in a thread; it must still run when the test is over."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = SegmentationNode(context=context, parameter_overrides=[Parameter("autostart", value=False),
                                                                  Parameter("cameras", value=request.param)])
    executor = executor_for(node)
    executor.add_node(node)
    ended = []

    def run():
        go.wait()
        try:
            spin(executor, node)
        except ExternalShutdownException:
            pass
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield node
    go.set()
    alive = thread.is_alive()
    rclpy.try_shutdown(context=context)
    thread.join(10)
    node.close()
    node.destroy_node()
    assert alive and not ended and not thread.is_alive()


WRONG = ParameterMessage(name="min_confidence", value=ParameterValue(type=77))


@pytest.mark.parametrize("early", [False, True], ids=["while it spins", "before it spins"])
def test_a_request_that_rclpy_trips_over_is_refused_and_the_node_answers_on(graph, spun, go, capfd, early):
    """Those that came before the node spins are taken in one go, by its executor for several cameras."""
    client = graph.client.create_client(SetParameters, "/drive_seg/set_parameters")
    assert graph.spin_until(client.service_is_ready)
    name = "front.min_confidence" if spun.several else "min_confidence"
    right = Parameter(name, value=0.9).to_parameter_msg()
    if not early:
        go.set()
        # The middleware may lose an answer to a client that it does not know yet: see docs/limits.md.
        assert graph.spin_until(client.call_async(SetParameters.Request(parameters=[right])).done, 2.0) or \
            graph.spin_until(client.call_async(SetParameters.Request(parameters=[right])).done)
    answers = [client.call_async(SetParameters.Request(parameters=parameters))
               for parameters in ([WRONG], [WRONG], [right, WRONG, right], [right])]
    if early:
        graph.spin_for(1.0)  # until they have come, and both sides know each other
        go.set()
    assert graph.spin_until(lambda: all(answer.done() for answer in answers))
    results = [answer.result().results for answer in answers]
    assert [[r.successful for r in each] for each in results] == [[False], [False], [True, False, False], [True]]
    assert "77 is not a valid Parameter.Type" in results[0][0].reason
    assert spun.get_parameter(name).value == 0.9
    said = [line for line in capfd.readouterr().err.splitlines() if "could not be handled" in line]
    assert len(said) == 1 and "the node goes on" in said[0], "three of a kind are one line"


def test_what_raises_in_any_callback_is_refused_or_logged_and_the_next_comes(graph, spun, go, capfd):
    """Two messages and two requests that have come before the node spins."""
    heard = []

    def trip(message, response=None):
        heard.append(message)
        raise ValueError("tripped")

    spun.create_subscription(CameraInfo, "trip", trip, 10)
    spun.create_service(SetBool, "trip_over", trip)
    publisher = graph.publisher(CameraInfo, "trip", 10)
    flag = graph.client.create_client(SetBool, "trip_over")
    atomic = graph.client.create_client(SetParametersAtomically, "/drive_seg/set_parameters_atomically")
    assert graph.connected(publisher)
    assert graph.spin_until(lambda: flag.service_is_ready() and atomic.service_is_ready())
    for width in (1, 2):
        publisher.publish(CameraInfo(width=width))
    answers = [flag.call_async(SetBool.Request(data=True)) for _ in range(2)]
    whole = atomic.call_async(SetParametersAtomically.Request(parameters=[WRONG]))
    graph.spin_for(1.0)
    go.set()
    assert graph.spin_until(lambda: len(heard) == 4 and all(answer.done() for answer in (*answers, whole)))
    assert sorted(message.width for message in heard if isinstance(message, CameraInfo)) == [1, 2]
    assert all(not a.result().success and a.result().message == "ValueError: tripped" for a in answers)
    assert not whole.result().result.successful
    assert capfd.readouterr().err.count("could not be handled") == 1


def test_a_kind_of_line_comes_now_and_then_whatever_its_text():
    now = [0.0]
    throttle = Throttle(every=5.0, clock=lambda: now[0])
    said = []
    for number in range(200):
        now[0] = number * 0.1
        line = throttle.line("bad_message", f"encoding {number}" + "x" * 100_000)
        if line is not None:
            said.append(line)
    assert len(said) == 4 and all(len(line) < 1100 for line in said)
    assert said[1].endswith("(and 49 more of this kind)")
    assert throttle.line("another", "text") == "text", "each kind on its own"


def test_camera_info_that_was_latched_before_the_start_is_used(graph, colour_network_path):
    latched = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE,
                         durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    publisher = graph.publisher(CameraInfo, "camera_info", latched)
    publisher.publish(CameraInfo(width=640, height=360))
    node = graph.segmentation(network=str(colour_network_path), engine="openvino")
    assert graph.spin_until(lambda: node.active.geometry.camera_info is not None)
    assert node.active.geometry.camera_info.width == 640
    publisher.publish(CameraInfo(width=320, height=180))
    assert graph.spin_until(lambda: node.active.geometry.camera_info.width == 320)


@pytest.mark.parametrize(("remappings", "topic"), [
    ([], "/image/compressed"),
    (["image:=/camera/image_raw"], "/camera/image_raw/compressed"),
    (["image:=/camera/image_raw", "image/compressed:=/other/jpeg"], "/other/jpeg"),
])
def test_where_compressed_images_come(graph, remappings, topic):
    arguments = [word for remapping in remappings for word in ("-r", remapping)]
    node = graph.add(SegmentationNode(context=graph.context, cli_args=["--ros-args", *arguments],
                                      parameter_overrides=[Parameter("autostart", value=False)]))
    assert compressed_topic(node) == topic


def test_an_image_for_cv_bridge_is_no_larger_than_others_may_be(monkeypatch):
    bridge = ModuleType("cv_bridge")
    bridge.CvBridge = bridge.CvBridgeError = None
    monkeypatch.setitem(sys.modules, "cv_bridge", bridge)
    message = Image(encoding="mono16", height=100, width=100, step=200)
    with pytest.raises(TooLargeError, match="100x100 pixels, more than 9999"):
        to_frame(message, 9999)
