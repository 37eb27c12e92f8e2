"""Every frame that a camera sends is answered or counted: /diagnostics says what became of it."""

import array
import threading
from contextlib import suppress

import numpy as np
import pytest
import rclpy
from camera_messages import image
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import Image

from drive_seg.ros.main import executor_for, spin
from drive_seg.ros.missing import Missing
from drive_seg.ros.node import SegmentationNode

_RELIABLE = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.RELIABLE)


def info(number, publisher=b"one"):
    return {"publication_sequence_number": number, "publisher_gid": {"data": publisher}}


def test_gaps_between_a_publishers_numbers_are_counted():
    missing = Missing()
    for number in (7, 8, 11, 12):  # it was there before us: what came before 7 was not for us
        missing.came(info(number))
    assert missing.count == 2
    missing.came(info(10))  # late, and counted already
    missing.came(info(13))
    assert missing.count == 2


def test_each_publisher_has_numbers_of_its_own():
    missing = Missing()
    for number in range(1, 4):
        missing.came(info(number))
        missing.came(info(100 * number, b"two"))
    assert missing.count == 2 * 99
    for restarted in range(100):  # a driver that is started again and again
        missing.came(info(1, str(restarted).encode()))
    assert missing.count == 2 * 99
    assert len(missing._last) < 10


@pytest.mark.parametrize("info", [{}, {"publication_sequence_number": None}, {"publication_sequence_number": 3}])
def test_without_numbers_it_is_not_known(info):
    missing = Missing()
    missing.came(info)
    assert missing.count is None


@pytest.mark.usefixtures("publishers_known")
def test_every_frame_of_a_burst_is_in_the_account(graph, colour_network_path, scene):
    """Twenty frames at once, good and bad: most never reach the node, and none goes uncounted."""
    node = graph.segmentation(network=str(colour_network_path))
    camera = graph.publisher(Image, "image", _RELIABLE)
    masks, arrays = graph.collect(Image, "/drive_seg/labels", _RELIABLE), graph.collect(DiagnosticArray, "/diagnostics")
    (labels,) = (p for o, p in node.configured.publishers.items() if o.topic == "~/labels")
    assert graph.connected(camera) and graph.spin_until(lambda: labels.get_subscription_count() > 0)
    bad = array.array("B", bytes(100))
    camera.publish(image(scene, 0))  # alone: a gap needs something before it
    assert graph.spin_until(lambda: node.active.worker.mailbox.received == 1)
    sent = 1

    def told():
        """The newest account, without what is not a number."""
        rows = [s for a in arrays for s in a.status if s.name.endswith(": frames")]
        return {v.key: int(v.value) for v in rows[-1].values if v.value.isdigit()} if rows else {}

    def settled():
        account = told()
        return account.get("received", 0) + account.get("missing", 0) == sent and account["received"] == sum(
            count for fate, count in account.items() if fate not in ("received", "missing"))

    for burst in range(5):
        for number in range(20):
            camera.publish(image(scene, 100 * burst + number, **({"data": bad} if number % 3 else {})))
            sent += 1
        graph.spin_for(0.2)
    for number in range(50):  # what is missing shows when something comes behind it
        before = node.active.worker.mailbox.received
        camera.publish(image(np.roll(scene, number, 1), 1000 + number))
        sent += 1
        if graph.spin_until(lambda before=before: node.active.worker.mailbox.received > before, 0.5):
            break
    assert graph.spin_until(settled), (sent, told())
    account = told()
    assert account["missing"] > 0, "a burst is more than the node's subscription keeps"
    assert account["published"] == len(masks) > 0


@pytest.mark.usefixtures("publishers_known")
def test_bytes_that_are_no_message_are_missing(graph, colour_network_path, scene):
    node = graph.segmentation(network=str(colour_network_path))
    camera = graph.publisher(Image, "image", _RELIABLE)
    assert graph.connected(camera)
    for number, message in enumerate([image(scene, 1), b"\x00\x01\x00\x00" + b"\xff" * 64, image(scene, 2)]):
        camera.publish(message)
        graph.spin_until(lambda number=number: node.active.worker.mailbox.received > number, 0.5)
    assert graph.spin_until(lambda: node.active.worker.mailbox.received == 2)
    assert node.active.worker.account["missing"] == "1"


def test_several_cameras_get_their_frames_in_the_loop_of_the_process(graph, domain, colour_network_path, scene):
    """Its executor is another one, and trips over callbacks that also take what rclpy says about a message."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = SegmentationNode(context=context, parameter_overrides=[
        Parameter("network", value=str(colour_network_path)), Parameter("cameras", value=["front", "left"])])
    executor = executor_for(node)
    executor.add_node(node)

    def run():
        with suppress(ExternalShutdownException):
            spin(executor, node)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        node.start_up()
        camera = graph.publisher(Image, "front/image", _RELIABLE)
        assert graph.connected(camera)
        for number in range(50):
            camera.publish(image(scene, number))
            if graph.spin_until(lambda: node.cameras["front"].worker.account["received"] != "0", 0.2):
                break
        assert node.cameras["front"].worker.account["received"] != "0"
        assert node.cameras["front"].worker.account["missing"] == "not known"
    finally:
        rclpy.try_shutdown(context=context)
        thread.join(10)
        node.close()
        node.destroy_node()
