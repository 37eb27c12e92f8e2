"""A short version of `make torture` (test/helpers/torture.py)."""

import signal
import threading

import pytest
import torture
from bags import raw, write_bag
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo


@pytest.fixture
def table():
    made = torture.Table()
    yield made
    assert made.rows and made.good, [row for row in made.rows if row[2] is False]


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_fuzzed_messages(domain, table, tmp_path, colour_network_path, compressed):
    torture.fuzz(table, tmp_path, colour_network_path, torture.moving(), 200, compressed)


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_bytes_that_are_no_message_leave_the_next_frame_alone(domain, tmp_path, colour_network_path, compressed):
    log, frames = tmp_path / "log", torture.moving()
    image = bytes(serialize_message(torture.picture(frames[0], 0, compressed)))
    info = bytes(serialize_message(CameraInfo(distortion_model="plumb_bob")))
    bad = [data for whole in (image, info) for data in (
        whole[: len(whole) // 2], whole[:4], whole[:5], whole[:8] + b"\xff\xff\xff\xff" + whole[12:],
        b"\x07", b"\xff" * 40, b"\x00\x01\x00\x00" + b"\xff" * 64)]
    with torture.live(colour_network_path, log, compressed) as node:
        camera = node.compressed if compressed else node.raw
        for number, data in enumerate(bad, start=1):
            (camera if number <= len(bad) // 2 else node.info).publish(data)
            frame = torture.picture(frames[number % 12], number, compressed)
            camera.publish(frame)
            stamp = torture.stamp_of(frame)
            assert node.until(lambda stamp=stamp: stamp in node.labels), f"no masks after {data[:20]!r}"
        node.spin(0.5)
    said = log.read_text(errors="replace")
    assert "a message can't be read, it is left out" in said
    assert "rcutils_reset_error" not in said, "one error is taken before the next one is set"


@pytest.mark.usefixtures("publishers_known")
def test_a_node_that_stands_still_is_waited_for_and_nothing_goes_uncounted(domain, tmp_path, colour_network_path):
    frames = torture.moving()
    with torture.live(colour_network_path, tmp_path / "log") as node:
        assert node.answer(torture.picture(frames[0], 0, False), frames) is not None
        node.through(lambda: False)
        start = node.balance()
        node.process.send_signal(signal.SIGSTOP)
        go_on = threading.Timer(3.0, node.process.send_signal, [signal.SIGCONT])
        go_on.start()
        for number in range(1, 31):
            node.send(torture.picture(frames[number % 12], number, False))
        assert node.answer(torture.picture(frames[0], 31, False), frames) is not None
        balance = node.settle(start, torture.picture(frames[1], 32, False))
        go_on.join()
    assert balance["sent"] > 30 and balance["missing"] > 0, "it keeps the newest frame, not 30"
    assert torture.closed(balance), balance


def test_a_frame_of_which_nobody_knows_is_found():
    balance = dict.fromkeys(torture._FATES, 1) | {"received": 6, "missing": 2, "sent": 8, "heard": 1, "unheard": 0}
    assert torture.closed(balance)
    for name in balance:
        assert not torture.closed(balance | {name: balance[name] + 1}), name


def test_injected_faults(domain, table, tmp_path, colour_network_path):
    names = ["camera stops", "black", "data cut short", "unknown encoding"]
    times = torture.inject(table, tmp_path, colour_network_path, torture.moving(), names)
    assert set(times) <= set(names) and None not in times.values()
    if not times:
        pytest.skip("this machine is too busy: the node says all of it of a sound camera")


def test_hammered_from_outside(domain, table, tmp_path, colour_network_path):
    torture.hammer(table, tmp_path, colour_network_path, torture.moving(), 25)


def test_soaked(domain, table, tmp_path, colour_network_path):
    torture.soak(table, tmp_path, colour_network_path, torture.moving(), 150)
    assert (tmp_path / "soak.png").stat().st_size > 500


def test_a_replay_that_is_killed_and_resumed(table, tmp_path, colour_network_path):
    frames = torture.moving()
    bag = write_bag(tmp_path / "drive", 150, messages=[raw(i, frames[i % 12]) for i in range(150)], with_info=False)
    torture.kill_replay(table, tmp_path, colour_network_path, bag, 1, within=0.05)
