"""Newest wins, nothing queues, drops are counted."""

import threading
import time

from drive_seg.ros.mailbox import Mailbox


def test_the_newest_replaces_the_one_that_waits():
    box = Mailbox()
    for i in range(5):
        box.put(i)
    assert box.take()[0] == 4
    assert (box.received, box.dropped) == (5, 4)


def test_an_item_keeps_the_time_when_it_came():
    box = Mailbox()
    box.put("old")
    time.sleep(0.05)
    before = time.monotonic()
    box.put("new")
    time.sleep(0.1)
    item, received = box.take()
    assert item == "new" and before <= received <= before + 0.05


def test_take_waits_for_an_item():
    box, got = Mailbox(), []
    thread = threading.Thread(target=lambda: got.append(box.take()))
    thread.start()
    box.put("frame")
    thread.join(5)
    assert [item for item, _ in got] == ["frame"]


def test_close_wakes_the_taker_and_drops_what_waits():
    box, got = Mailbox(), []
    thread = threading.Thread(target=lambda: got.append(box.take()))
    thread.start()
    box.close()
    thread.join(5)
    assert got == [None]
    box.put("late")
    assert box.take() is None
