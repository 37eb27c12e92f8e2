"""Changes of the life cycle that leave the node answering: configuring beside the executor, for it may build a plan for
minutes, and requests that do not fit the present state."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.task import Future

_RCLError = rclpy_implementation.RCLError


def attempt(node: LifecycleNode, trigger: Callable[[], TransitionCallbackReturn]) -> TransitionCallbackReturn:
    """What a trigger_... of rclpy returns; ERROR and a line in the log where the node's state does not allow it.

    rclpy of Humble and Jazzy raises there (ros2/rclpy#1209); later ones return ERROR themselves.
    """
    try:
        return trigger()
    except _RCLError as error:
        _refuse(node, error)
        return TransitionCallbackReturn.ERROR


def configure_in_background(node: LifecycleNode, began: Callable[[threading.Thread], None]) -> None:
    """Let `change_state` run the transition `configure` in a thread of its own; its answer comes when that is done.

    began: called with each such thread before it starts.
    Another `change_state` waits for it; all else the node goes on with. One that the state does not allow is answered
    with success = false on every ROS distribution, see `attempt`.
    """
    service = node._service_change_state  # rclpy lets nobody choose its callback or group
    in_rclpy = service.callback

    def change(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        try:
            return in_rclpy(request, response)
        except _RCLError as error:
            _refuse(node, error)
            response.success = False
            return response

    async def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        wanted = request.transition
        if wanted.label != "configure" if wanted.label else wanted.id != Transition.TRANSITION_CONFIGURE:
            return change(request, response)
        done: Future[ChangeState.Response] = Future(executor=node.executor)
        done.add_done_callback(lambda _: None)  # without one, nothing wakes the executor

        def work() -> None:
            try:
                done.set_result(change(request, response))
            except Exception as error:  # the executor raises it, as it would have without us
                done.set_exception(error)

        thread = threading.Thread(target=work, name="configure", daemon=True)
        began(thread)
        thread.start()
        return await done

    service.callback = answer
    service.callback_group = MutuallyExclusiveCallbackGroup()
    service.callback_group.add_entity(service)


def _refuse(node: LifecycleNode, error: Exception) -> None:
    state = node._state_machine.current_state[1]
    node.get_logger().error(f"this change of the life cycle is refused, the node is {state}: ask for one that starts"
                            f" there ({' '.join(str(error).split())})")
