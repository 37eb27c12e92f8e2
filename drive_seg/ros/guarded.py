"""Callbacks that raise, kept from the executor: the error is logged, and a request gets an answer.

rclpy has an exception of any callback end the process. Its EventsExecutor takes what has come together in one go: an
exception there leaves the rest of it untaken, and as each later event takes one, every later answer comes that many
requests late, for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node

from drive_seg.ros.log import Throttle


class Guard:
    """Makes callbacks that don't raise of those of a node."""

    def __init__(self, node: Node) -> None:
        self._node, self._throttle = node, Throttle()

    def callback(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Guard the callback of a subscription or a timer."""

        @functools.wraps(function)  # rclpy looks how many arguments it takes
        def guarded(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:
                self._log(error)
                return None

        return guarded

    def service(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Guard a service: one that raises answers that it failed, as far as its type can say so."""

        @functools.wraps(function)
        def guarded(request: Any, response: Any) -> Any:
            try:
                return function(request, response)
            except Exception as error:
                self._log(error)
                return _refused(request, response, f"{type(error).__name__}: {error}")

        return guarded

    def _log(self, error: Exception) -> None:
        """Say it now and then. Raises it where ROS has ended, for then that is why."""
        if not self._node.context.ok():
            raise error
        line = self._throttle.line("callback", f"a message or request could not be handled: {error!r}; the node goes"
                                   " on")
        if line is not None:
            self._node.get_logger().error(line)


def _refused(request: Any, response: Any, reason: str) -> Any:
    failed = SetParametersResult(successful=False, reason=reason)
    if isinstance(response, SetParameters.Response):  # what comes before the one that raised has been set
        response.results = [*response.results, *[failed] * (len(request.parameters) - len(response.results))]
    elif isinstance(response, SetParametersAtomically.Response):
        response.result = failed
    elif hasattr(response, "success") and hasattr(response, "message"):
        response.success, response.message = False, reason
    return response
