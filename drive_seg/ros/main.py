"""Entry point of the node's process."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from drive_seg import lean_imports
from drive_seg.ros import transport
from drive_seg.ros.log import Throttle
from drive_seg.ros.unread import LeftOver

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node

    from drive_seg.ros.node import SegmentationNode

_LONGEST_WAIT = 0.5
"""Seconds after which the executor looks whether ROS has ended."""

_LONGEST_TROUBLE = 10.0
"""Seconds for which callbacks may do nothing but raise."""

_LONGEST_START = 5.0
"""Seconds that an end waits for a start that is under way."""

_LONGEST_END = 20.0
"""Seconds that closing may take."""


def main(args: list[str] | None = None, at_end: Callable[[SegmentationNode], None] | None = None) -> None:
    """Run the node until it is asked to stop. at_end is called before it is closed, for who measures it.

    Raises SystemExit with code 2 after one line on stderr for a parameter that can't be used.
    """
    transport.apply()  # before rclpy is imported: it sets how memory and large images are handled
    lean_imports.load_numba_without_scipy()

    import rclpy
    from rclpy.exceptions import ParameterException
    from rclpy.executors import ExternalShutdownException

    from drive_seg.errors import ParameterError
    from drive_seg.ros.node import SegmentationNode

    rclpy.init(args=args)
    node, starting = None, None
    try:
        node = SegmentationNode()
        executor = executor_for(node)
        executor.add_node(node)
        # Beside the executor, so that life-cycle services answer while an engine is being built.
        starting = threading.Thread(target=node.start_up, name="start_up", daemon=True)
        starting.start()
        spin(executor, node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ParameterError, ParameterException) as error:  # rclpy's: of its own parameters
        print(f"drive_seg: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception:
        if rclpy.ok():  # else it was asked to end amid a call of rclpy, which then fails in any way
            raise
    finally:
        # A process that is asked to end must end, whatever a library waits for: then with every stack on stderr.
        faulthandler.dump_traceback_later(_LONGEST_END, exit=True)
        _ignore_signals()
        if node is not None:
            if at_end is not None:
                at_end(node)
            for thread in _beginning(starting, node):  # or it would make publishers for a node that is being destroyed
                thread.join(_LONGEST_START)
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        _ignore_signals()  # again: rclpy has just put back the handlers that it found
        if any(thread.is_alive() for thread in _beginning(starting, node)) and sys.exc_info()[0] is None:
            # It is in native code, whose libraries must not be unloaded meanwhile.
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(0)


def executor_for(node: SegmentationNode) -> Executor:
    """An executor of one thread.

    rclpy's usual one goes through all that a node has, in Python, whenever a message comes. For several cameras, which
    have much and get many messages, it is the one that does not, where this rclpy has it (from Kilted on).
    """
    from rclpy.executors import SingleThreadedExecutor

    if node.several:
        with suppress(ImportError):
            from rclpy.experimental import EventsExecutor

            return EventsExecutor(context=node.context)
    return SingleThreadedExecutor(context=node.context)


def spin(executor: Executor, node: Node) -> None:
    """Run callbacks until ROS ends. What the executor raises is logged, and the others go on.

    The node's own callbacks raise nothing (see Guard), but rclpy has others, for instance of the life cycle. Raises
    what an executor raises that has done nothing else for ten seconds: then it is not a callback. A message that can't
    be read comes to no callback at all: it is logged here.
    """
    throttle, well, left_over = Throttle(), time.monotonic(), LeftOver()
    # Not spin(): the signal handler's thread wakes the executor before it ends ROS. An executor that is back in its
    # wait by then is woken by nobody, once /clock has stopped and with it every timer.
    while node.context.ok():
        try:
            executor.spin_once(timeout_sec=_LONGEST_WAIT)
            well = time.monotonic()
            unread = left_over.take()
            line = None if unread is None else throttle.line(
                "unread", f"a message can't be read, it is left out: {unread}: its publisher sends damaged data, or"
                " another version of this message type: use the same ROS distribution there")
            if line is not None:
                node.get_logger().warning(line)
        except Exception as error:
            if not node.context.ok() or type(error).__name__ == "ExternalShutdownException" \
                    or time.monotonic() - well > _LONGEST_TROUBLE:
                raise
            line = throttle.line("callback", f"a message or request could not be handled: {error!r}; the node goes on")
            if line is not None:
                node.get_logger().error(line)
            time.sleep(0.01)  # whatever keeps coming, other threads get their turn


def _beginning(starting: threading.Thread | None, node: SegmentationNode | None) -> list[threading.Thread]:
    """The threads that configure the node, if they have begun."""
    asked_for = None if node is None else node.configuring
    return [thread for thread in (starting, asked_for) if thread is not None and thread.ident is not None]


def _ignore_signals() -> None:
    """Ctrl-C under ros2 launch comes twice, from terminal and launch; and a node that ends has nothing left to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
