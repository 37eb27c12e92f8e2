"""Transport settings: what is set, what is left alone, and that Fast DDS takes the profile."""

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from drive_seg.ros import transport


def test_sets_profile_and_malloc_without_touching_the_base():
    base = {"HOME": "/home/robot"}
    child = transport.environment(base)
    assert base == {"HOME": "/home/robot"}
    assert child["HOME"] == "/home/robot"
    assert Path(transport.profile_in_force(child)).is_file()
    assert {name for name in child if name.startswith("MALLOC_")} == set(transport.MALLOC_THRESHOLDS)


@pytest.mark.parametrize("chosen", [
    {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
    {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
    {"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"},
    {"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"},
])
def test_leaves_the_users_transport_alone(chosen):
    child = transport.environment(chosen)
    assert {name: child.get(name) for name in transport.PROFILE_VARIABLES} == {
        name: chosen.get(name) for name in transport.PROFILE_VARIABLES}


def test_a_full_shared_memory_is_named_and_images_go_around_it(monkeypatch, capsys):
    """Fast DDS would die of a bus error on some later image."""
    monkeypatch.setattr(transport, "free_shared_memory", lambda: 3_000_000)
    assert transport.environment({})["FASTDDS_BUILTIN_TRANSPORTS"] == "UDPv4"
    assert transport.profile_in_force(transport.environment({})) is None
    chosen = {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}
    assert transport.environment(chosen)["FASTDDS_BUILTIN_TRANSPORTS"] == "LARGE_DATA"
    others = ("FASTDDS_BUILTIN_TRANSPORTS", "RMW_IMPLEMENTATION", "ROS_LOCALHOST_ONLY")
    for name in (*transport.PROFILE_VARIABLES, *others):
        monkeypatch.setenv(name, "")
    transport.apply()
    (line,) = capsys.readouterr().err.splitlines()
    assert "/dev/shm has 3 MB free, large images need 75 MB" in line and "--shm-size" in line


@pytest.mark.parametrize(("distro", "only", "profile"), [("humble", "1", False), ("humble", "0", True),
                                                         ("jazzy", "1", True)])
def test_a_node_that_shall_stay_on_this_machine_does(distro, only, profile):
    child = transport.environment({"ROS_DISTRO": distro, "ROS_LOCALHOST_ONLY": only})
    assert (transport.profile_in_force(child) is not None) is profile


@pytest.mark.parametrize(("library", "distro", "name"), [
    ("libfastrtps.so.2.14", "", "FASTRTPS_DEFAULT_PROFILES_FILE"),  # wheels of Jazzy set no ROS_DISTRO
    ("libfastrtps.so.2.6", "humble", "FASTRTPS_DEFAULT_PROFILES_FILE"),
    ("libfastdds.so.3.2", "", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ("libfastdds.so.3.2", "kilted", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ("libfastdds.so.3.2", "jazzy", "FASTDDS_DEFAULT_PROFILES_FILE"),  # what is loaded counts, not what is said
    (None, "jazzy", "FASTRTPS_DEFAULT_PROFILES_FILE"),
    (None, "rolling", "FASTDDS_DEFAULT_PROFILES_FILE"),
])
@pytest.mark.parametrize("found_by", ["LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "prefix"])
def test_each_fast_dds_gets_the_variable_that_it_reads(tmp_path, monkeypatch, library, distro, name, found_by):
    monkeypatch.setattr(transport.sys, "prefix", str(tmp_path / "nothing"))
    (tmp_path / "lib").mkdir()
    if library is not None:
        (tmp_path / "lib" / library).touch()
    base = {"ROS_DISTRO": distro}
    if found_by == "LD_LIBRARY_PATH":
        base[found_by] = f"/nowhere:{tmp_path}/lib"
    elif found_by == "AMENT_PREFIX_PATH":
        base[found_by] = f"/nowhere:{tmp_path}"
    else:
        monkeypatch.setattr(transport.sys, "prefix", str(tmp_path))
    assert [variable for variable in transport.environment(base) if "PROFILES" in variable] == [name]


@pytest.mark.parametrize("rmw", ["rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp"])
def test_fast_dds_by_name_gets_the_profile(rmw):
    assert transport.profile_in_force(transport.environment({"RMW_IMPLEMENTATION": rmw})).endswith(".xml")
    assert transport.profile_in_force({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp", "FASTDDS_DEFAULT_PROFILES_FILE":
                                       "mine.xml"}) is None


def test_leaves_the_users_malloc_alone():
    assert transport.environment({"MALLOC_TOP_PAD_": "1"})["MALLOC_TOP_PAD_"] == "1"


def test_another_python_does_not_inherit_the_libraries_of_this_one():
    own = str(Path(sys.prefix) / "lib")
    child = transport.environment({"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
                                   "LD_LIBRARY_PATH": os.pathsep.join([own, "/opt/camera/lib"])})
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in child
    assert child["LD_LIBRARY_PATH"] == "/opt/camera/lib"
    assert "LD_LIBRARY_PATH" not in transport.environment({"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
                                                           "LD_LIBRARY_PATH": own})


def test_a_robots_library_path_is_kept():
    ros = {"LD_LIBRARY_PATH": str(Path(sys.prefix) / "lib")}  # without the wheels' guard it is the distribution's
    assert transport.environment(ros)["LD_LIBRARY_PATH"] == ros["LD_LIBRARY_PATH"]


FAULTS = """
import ctypes, resource, sys
from drive_seg.ros import transport
if sys.argv[1] == "apply":
    transport.apply()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    buffers = [libc.malloc(6_000_000) for _ in range(3)]
    for buffer in buffers:
        libc.memset(buffer, 1, 6_000_000)
        libc.free(buffer)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str, env: dict) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_image_buffers_are_not_faulted_in_again():
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    stock = page_faults("leave", plain)
    once = 3 * 6_000_000 // resource.getpagesize()
    assert page_faults("apply", plain) < 2 * once < stock
    assert page_faults("leave", transport.environment(plain)) < 2 * once


NODE = """
from drive_seg.ros import transport
transport.apply()
import rclpy
rclpy.init()
node = rclpy.create_node("transport_test")
mapped = [line.split()[0].split("-") for line in open("/proc/self/maps") if "/dev/shm/fast" in line]
print(max(int(end, 16) - int(start, 16) for start, end in mapped))
node.destroy_node()
rclpy.shutdown()
"""


def test_fast_dds_takes_the_profile(tmp_path, domain):
    """Its shared memory is called fastrtps_... in 2.x, fastdds_... in 3.x."""
    env = {name: value for name, value in os.environ.items() if name not in transport.PROFILE_VARIABLES}
    done = subprocess.run([sys.executable, "-c", NODE], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 64 << 20
    assert not done.stderr
