"""Values that can't be used are refused with a reason, and what may change in use does so at once."""

import pytest
from camera_messages import image
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from drive_seg.core.health.status import Health
from drive_seg.errors import ParameterError
from drive_seg.settings import TABLE


def set_parameter(graph, name, value):
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return graph.call(SetParameters, "/drive_seg/set_parameters", request).results[0]


@pytest.mark.parametrize(("name", "value", "reason"), [
    ("ego_mask", "~nobody_of_that_name/x.png", "can't be a file"),
    ("network", "a\0b.onnx", "network: "),  # refused by pathlib, or found to be no file
    ("network", "x" * 5000, "network: "),
    ("ego_mask", "/nowhere.png", "there is no file /nowhere.png"),
    ("base_frame", "", "must not be empty"),
])
def test_a_value_that_can_not_be_used_has_a_reason(name, value, reason):
    with pytest.raises(ParameterError) as refused:
        TABLE[name].check(value)
        TABLE[name].check_file(value)
    assert reason in str(refused.value)


def test_a_file_of_a_user_that_is_not_leaves_the_node_alive(graph):
    graph.segmentation(autostart=False)
    answer = set_parameter(graph, "ego_mask", "~nobody_of_that_name/x.png")
    assert not answer.successful and "can't be a file" in answer.reason
    assert not set_parameter(graph, "base_frame", "").successful
    assert set_parameter(graph, "base_frame", "base_footprint").successful, "it answers on"


def test_still_images_may_be_allowed_in_use(graph, colour_network_path, scene):
    node = graph.segmentation(network=str(colour_network_path), engine="openvino", frozen_timeout=0.2)
    camera = graph.publisher(Image, "image")
    masks = graph.collect(Image, "/drive_seg/labels")
    assert graph.connected(camera)

    def health() -> Health:
        camera.publish(image(scene))
        return node.configured.pipeline.monitor.state(node.now())[0]

    assert graph.spin_until(lambda: health() == Health.FAULT)
    assert set_parameter(graph, "frozen_timeout", 0.0).successful
    silent = len(masks)
    assert graph.spin_until(lambda: health() != Health.FAULT and len(masks) > silent)
