"""The node's process ends when ROS ends, whatever it waits for."""

import os
import subprocess
import sys

import pytest

from drive_seg.ros import transport

UNNOTICED = """
import threading, time
from drive_seg.ros import main, node

def end_ros():
    import rclpy
    while not started.wait(0.1):
        pass
    time.sleep(1)
    rclpy.get_default_context().handle.shutdown()  # as by the signal handler's thread, after its wake-up came too early

started = threading.Event()
start_up = node.SegmentationNode.start_up
node.SegmentationNode.start_up = lambda self: (start_up(self), started.set())
threading.Thread(target=end_ros, daemon=True).start()
main.main()
print("ended", flush=True)
"""


@pytest.mark.parametrize("sim_time", ["true", "false"])
def test_an_end_of_ros_that_wakes_nobody_is_noticed(domain, colour_network_path, sim_time):
    """With use_sim_time and no /clock, no timer wakes the executor either."""
    words = ["--ros-args", "-p", f"network:={colour_network_path}", "-p", "engine:=openvino", "-p",
             f"use_sim_time:={sim_time}"]
    done = subprocess.run([sys.executable, "-c", UNNOTICED, *words], env=transport.environment(os.environ), timeout=60,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert "Traceback" not in done.stderr
