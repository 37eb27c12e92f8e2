"""The node's process ends when ROS ends, whatever it waits for, and at once where its parameters can't be used."""

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


@pytest.mark.parametrize("cameras", ["['']", "[front, left]"])
@pytest.mark.parametrize("sim_time", ["true", "false"])
def test_an_end_of_ros_that_wakes_nobody_is_noticed(domain, colour_network_path, sim_time, cameras):
    """With use_sim_time and no /clock, no timer wakes the executor either."""
    words = ["--ros-args", "-p", f"network:={colour_network_path}", "-p", "engine:=openvino", "-p",
             f"use_sim_time:={sim_time}", "-p", f"cameras:={cameras}"]
    done = subprocess.run([sys.executable, "-c", UNNOTICED, *words], env=transport.environment(os.environ), timeout=60,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert "Traceback" not in done.stderr


CONFIGURING = """
import os, signal, threading, time
import rclpy
from lifecycle_msgs.srv import ChangeState
from drive_seg.ros import main, node

def configure(self, state):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1.5)
    print("has ended", flush=True)
    return node._FAILED

def ask():
    while not rclpy.ok():
        time.sleep(0.1)
    client = rclpy.create_node("manager").create_client(ChangeState, "/drive_seg/change_state")
    assert client.wait_for_service(20)
    request = ChangeState.Request()
    request.transition.id = 1
    client.call_async(request)

node.SegmentationNode.on_configure = configure
threading.Thread(target=ask, daemon=True).start()
main.main(at_end=lambda node: print("ends", flush=True))
print("ended", flush=True)
"""


def test_an_end_waits_for_a_life_cycle_manager_s_configuring(domain):
    words = ["--ros-args", "-p", "autostart:=false"]
    done = subprocess.run([sys.executable, "-c", CONFIGURING, *words], env=transport.environment(os.environ),
                          timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ends\nhas ended\nended\n"), done.stderr


IMPOSSIBLE = {
    "latency_budget:=50": "latency_budget must be a number with a point, e.g. 50.0, not 50",
    "latency_budget:=fast": "latency_budget must be a number with a point, e.g. 0.0, not 'fast'",
    "min_confidence:=1.5": "min_confidence must be from 0 to 1, not 1.5",
    "input_height:=96.5": "input_height must be a whole number, not 96.5",
    "autostart:=1": "autostart must be true or false, not 1",
    "network:=5": "network must be text, e.g. \"'5'\", not 5",
}


def test_a_parameter_that_can_not_be_ends_it_with_the_fix_in_one_line(domain):
    given, line = next(iter(IMPOSSIBLE.items()))
    done = subprocess.run([sys.executable, "-m", "drive_seg.ros.main", "--ros-args", "-p", given], timeout=60,
                          env=transport.environment(os.environ), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"drive_seg: {line}\n")


ONE_AFTER_THE_OTHER = """
import sys
from drive_seg.ros.main import main
for given in sys.argv[1:]:
    try:
        main([sys.argv[0], "--ros-args", "-p", given])
    except SystemExit as end:
        print(end.code)
"""


def test_so_does_each_of_them(domain):
    """In one process."""
    done = subprocess.run([sys.executable, "-c", ONE_AFTER_THE_OTHER, *IMPOSSIBLE], timeout=60, capture_output=True,
                          env=transport.environment(os.environ), text=True, check=False)
    assert done.stderr.splitlines() == [f"drive_seg: {line}" for line in IMPOSSIBLE.values()]
    assert (done.returncode, done.stdout.split()) == (0, ["2"] * len(IMPOSSIBLE))
