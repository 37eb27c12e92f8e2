"""Newest wins, nothing queues, drops are counted."""

import threading
import time

import pytest

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


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def work(box: Mailbox, clock: Clock, seconds: float) -> None:
    """Take items that need so long each."""
    for _ in range(3):
        box.put("before")
        box.take()
        clock.now += seconds
        box.done()


def regular(interval: float, clock: Clock, busy: float | None = None) -> Mailbox:
    """A mailbox into which items came regularly; the last one, "old", waits. busy: seconds that one takes."""
    box = Mailbox(clock)
    work(box, clock, 1.2 * interval if busy is None else busy)
    for _ in range(12):
        clock.now += interval
        box.put("old")
    return box


def take_in_thread(box: Mailbox) -> tuple[threading.Thread, list]:
    got: list = []
    thread = threading.Thread(target=lambda: got.append(box.take()))
    thread.start()
    return thread, got


def test_a_stale_item_gives_way_to_the_next_that_is_due_soon():
    clock = Clock()
    box = regular(60.0, clock)
    dropped = box.dropped
    clock.now += 40.0
    thread, got = take_in_thread(box)
    thread.join(0.2)
    assert thread.is_alive() and not got
    clock.now += 20.0
    box.put("new")
    thread.join(10)
    assert got == [("new", clock.now)]
    assert box.dropped == dropped + 1


@pytest.mark.parametrize("waited", [0.0, 20.0, 61.0, 500.0])
def test_a_fresh_item_and_one_whose_successor_is_late_are_taken_at_once(waited):
    clock = Clock()
    box = regular(60.0, clock)
    clock.now += waited
    assert box.take()[0] == "old"


def test_a_stale_item_is_taken_where_there_is_time_for_it_and_the_next():
    clock = Clock()
    box = regular(60.0, clock, busy=10.0)
    clock.now += 40.0
    assert box.take()[0] == "old"


def test_an_item_is_not_lost_when_the_next_one_fails_to_come():
    clock = Clock()
    box = regular(0.2, clock)
    clock.now += 0.15
    assert box.take()[0] == "old"


@pytest.mark.parametrize("intervals", [
    pytest.param((60, 5, 90, 20, 60, 150, 30, 80, 10, 60, 40), id="irregular"),
    pytest.param((60,) * 4, id="too few to tell"),
])
def test_nobody_waits_where_it_is_not_known_when_the_next_item_is_due(intervals):
    clock = Clock()
    box = Mailbox(clock)
    work(box, clock, 72.0)
    for interval in intervals:
        clock.now += interval
        box.put("old")
    clock.now += 40.0
    thread, got = take_in_thread(box)
    thread.join(10)
    assert [item for item, _ in got] == ["old"]
    box.close()


def test_closing_wakes_a_taker_who_waits_for_a_fresher_item():
    clock = Clock()
    box = regular(60.0, clock)
    clock.now += 40.0
    thread, got = take_in_thread(box)
    thread.join(0.2)
    box.close()
    thread.join(10)
    assert got == [None]
