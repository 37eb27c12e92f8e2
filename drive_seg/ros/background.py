"""Configuring beside the executor: it may build a plan for minutes, and the node must answer meanwhile."""

from __future__ import annotations

import threading

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future


def configure_in_background(node: LifecycleNode) -> None:
    """Let `change_state` run the transition `configure` in a thread of its own; its answer comes when that is done.

    Another `change_state` waits for it; all else the node goes on with.
    """
    service = node._service_change_state  # rclpy lets nobody choose its callback or group
    change = service.callback

    async def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        wanted = request.transition
        if wanted.label != "configure" if wanted.label else wanted.id != Transition.TRANSITION_CONFIGURE:
            return change(request, response)
        done = Future(executor=node.executor)
        done.add_done_callback(lambda _: None)  # without one, nothing wakes the executor

        def work() -> None:
            try:
                done.set_result(change(request, response))
            except Exception as error:  # the executor raises it, as it would have without us
                done.set_exception(error)

        threading.Thread(target=work, name="configure", daemon=True).start()
        return await done

    service.callback = answer
    service.callback_group = MutuallyExclusiveCallbackGroup()
    service.callback_group.add_entity(service)
