"""The time axis of figures and report is that of recording: stamps may be anything."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from bags import DELAY_NS, raw, stamp, street, write_bag
from colours import rgb
from replays import read_summary

from drive_seg.replay import summary
from drive_seg.replay.frames import Columns

HOLE = 25  # frame of the lost road


def without_stamps(number):
    return 0


def one_unset(number):
    return 0 if number == 7 else stamp(number)


def in_a_loop(number):
    return stamp(number % 20)


def shown(number):
    """The street; for a moment, twice, there is no road."""
    scene = street(number)
    if number in (HOLE, HOLE + 20):
        scene[60:] = rgb("car")[::-1]
    return scene


def page_data(page):
    """The data that a report shows."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S).group(1))


@pytest.mark.parametrize("stamps", [without_stamps, one_unset, in_a_loop])
def test_stamps_do_not_move_the_axis(replay, tmp_path, stamps):
    messages = []
    for number in range(60):
        message = raw(number, shown(number))
        seconds, nanoseconds = divmod(stamps(number), 10**9)
        message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
        messages.append(message)
    replay(write_bag(tmp_path / "street", 60, messages=messages), report=True)
    figures = read_summary(replay.out)
    assert figures["start_ns"] == stamp(0) + DELAY_NS
    assert figures["duration_s"] == pytest.approx(5.9)
    assert {m["index"] for m in figures["suspicious"][:2]} == {HOLE, HOLE + 20}, "two seconds apart: both are reported"
    data = page_data(replay.out / "street" / "report.html")
    assert data["times"] == pytest.approx(np.arange(60) / 10)
    assert [p["t"] for p in data["pictures"]] == pytest.approx(np.arange(60) / 10)


def test_a_stretch_of_bad_health_ends_where_the_next_begins(replay, tmp_path, monkeypatch):
    """Though the summary lists only the first changes."""
    bag = write_bag(tmp_path / "street", 70, paint=lambda i: np.zeros((120, 200, 3), np.uint8)
                    if 20 <= i < 30 or 50 <= i < 60 else street(i))
    replay(bag, report=True)
    page = replay.out / "street" / "report.html"
    whole, changes = page_data(page)["health"], replay.summary()["health"]["changes"]
    assert len(replay.summary()["health"]["events"]) == changes > 3
    monkeypatch.setattr(summary, "_EVENTS", 2)
    replay(bag, "--again", report=True)
    assert replay.summary()["health"]["changes"] == changes
    assert page_data(page)["health"] == whole[:1]
    assert whole[0]["to"] < 4 < whole[-1]["to"]


def test_the_axis_is_not_made_anew_for_each_change_of_health(replay, tmp_path, monkeypatch):
    """A long drive has 100 000 frames, and each may change it."""
    make, made = Columns.seconds.fget, Counter()
    monkeypatch.setattr(Columns, "seconds", property(lambda columns: made.update([len(columns)]) or make(columns)))
    for frames in (15, 70):
        bag = write_bag(tmp_path / str(frames) / "street", frames, paint=lambda i: np.zeros((120, 200, 3), np.uint8)
                        if 20 <= i < 30 or 50 <= i < 60 else street(i))
        replay(bag, "--again", report=True)
    assert replay.summary()["health"]["changes"] > 3
    assert made[15] == made[70]
