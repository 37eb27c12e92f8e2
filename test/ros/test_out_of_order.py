"""Life-cycle requests that the node's state does not allow: refused, and the node goes on, whatever rclpy does."""

import threading

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import node as rclpy_lifecycle
from std_srvs.srv import SetBool


@pytest.fixture(params=["raises", "returns"])
def rclpy_kind(request, monkeypatch):
    """rclpy as of Humble and Jazzy raises for what the state does not allow, later ones return ERROR."""
    if request.param == "raises":
        mixin, name = rclpy_lifecycle.LifecycleNodeMixin, "_LifecycleNodeMixin__change_state"
        original = getattr(mixin, name)

        def change_state(node, transition):
            if transition not in {known[0] for known in node._state_machine.available_transitions}:
                raise rclpy_implementation.RCLError(f"No transition matching {transition} found")
            return original(node, transition)

        monkeypatch.setattr(mixin, name, change_state)
    return request.param


def state(graph) -> int:
    return graph.call(GetState, "/drive_seg/get_state", GetState.Request()).current_state.id


def change(graph, **transition) -> bool:
    request = ChangeState.Request(transition=Transition(**transition))
    return graph.call(ChangeState, "/drive_seg/change_state", request).success


def enable(graph, data: bool) -> SetBool.Response:
    return graph.call(SetBool, "/drive_seg/enable", SetBool.Request(data=data))


def test_a_manager_may_ask_for_what_was_done_already(graph, colour_network_path, rclpy_kind, capfd):
    graph.segmentation(network=str(colour_network_path), engine="openvino")
    for wanted in ({"id": Transition.TRANSITION_CONFIGURE}, {"label": "configure"},
                   {"id": Transition.TRANSITION_ACTIVATE}, {"id": Transition.TRANSITION_CLEANUP}):
        assert not change(graph, **wanted), wanted
        assert state(graph) == State.PRIMARY_STATE_ACTIVE, "it goes on"
    assert change(graph, id=Transition.TRANSITION_DEACTIVATE)
    assert rclpy_kind == "returns" or "the node is active: ask for one that starts there" in capfd.readouterr().err


def test_starting_up_what_a_manager_has_started_changes_nothing(graph, colour_network_path, rclpy_kind):
    node = graph.segmentation(network=str(colour_network_path), engine="openvino")
    node.start_up()
    assert state(graph) == State.PRIMARY_STATE_ACTIVE


def test_enable_while_it_configures_is_refused(graph, colour_network_path, rclpy_kind, monkeypatch):
    held, go_on = threading.Event(), threading.Event()

    def slowly(*arguments, **options):
        held.set()
        assert go_on.wait(30)

    monkeypatch.setattr("drive_seg.ros.configured.warm_up", slowly)
    node = graph.segmentation(network=str(colour_network_path), engine="openvino", autostart=False)
    thread = threading.Thread(target=node.trigger_configure)
    thread.start()
    try:
        assert graph.spin_until(held.is_set)
        answer = enable(graph, True)
        assert not answer.success and answer.message == "the node is not configured"
        assert state(graph) == State.TRANSITION_STATE_CONFIGURING
    finally:
        go_on.set()
        thread.join(30)
    assert enable(graph, True).success and state(graph) == State.PRIMARY_STATE_ACTIVE


def test_enable_between_two_states_is_refused(graph, colour_network_path, rclpy_kind):
    """The last moment of configuring: all is made, and the state is not yet inactive."""
    node = graph.segmentation(network=str(colour_network_path), engine="openvino", autostart=False)
    made, go_on = threading.Event(), threading.Event()
    tell = node._health_topic.report

    def slowly(*arguments):
        tell(*arguments)
        made.set()
        assert go_on.wait(30)

    node._health_topic.report = slowly
    thread = threading.Thread(target=node.trigger_configure)
    thread.start()
    try:
        assert graph.spin_until(made.is_set)
        assert not enable(graph, True).success
    finally:
        go_on.set()
        thread.join(30)
    assert state(graph) == State.PRIMARY_STATE_INACTIVE
