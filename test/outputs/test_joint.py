"""Which frames of several cameras belong together, and the tables of their ground."""

from types import SimpleNamespace

import pytest

from drive_seg.core.mounted import Mount
from drive_seg.outputs import joint
from drive_seg.outputs.joint import JointGround, Rounds, Seen

CAMERAS = ("front", "left", "right")


def rounds_of(frames, tolerance=0.1):
    """frames: (camera, stamp in seconds) as they come."""
    rounds = Rounds(CAMERAS, tolerance)
    return [round_ for camera, stamp in frames for round_ in rounds.add(Seen(camera, round(stamp * 1e9), None, None))]


def drive(seconds=2.0, rates=(30, 30, 30), offset=0.0):
    """Frames in the order of their true times; the right camera's stamps are off."""
    times = sorted((number / rate + index / 1000, camera)
                   for index, (camera, rate) in enumerate(zip(CAMERAS, rates, strict=True))
                   for number in range(int(seconds * rate)))
    return [(camera, time + (offset if camera == "right" else 0)) for time, camera in times]


def test_cameras_of_one_rate_are_always_together():
    rounds = rounds_of(drive())
    assert len(rounds) == 60 and all(set(r.frames) == set(CAMERAS) for r in rounds)


@pytest.mark.parametrize("offset", [10.0, -10.0, 0.3, -0.3])
@pytest.mark.parametrize("rate", [30, 60, 10])
def test_a_wrong_clock_takes_nothing_from_the_others(offset, rate):
    rounds = rounds_of(drive(rates=(30, 30, rate), offset=offset))
    right = [r for r in rounds if "front" in r.frames and "left" in r.frames]
    assert len(right) >= len(rounds) - 2, "but for the first frames, before it shows"
    assert 58 <= len(right) <= 62 and all(r.missing == ("right",) for r in right[2:])


def test_a_clock_that_is_set_right_counts_again():
    wrong = drive(1.0, offset=0.3)
    right = [(camera, stamp + 1.0) for camera, stamp in drive(1.0)]
    assert all(not r.missing for r in rounds_of(wrong + right)[-25:])


def test_slow_cameras_are_no_wrong_clocks():
    """Two that send twice a second hold back none of the fast one's rounds."""
    rounds = rounds_of(drive(rates=(30, 2, 2)))
    assert len({r.stamp_ns for r in rounds if "front" in r.frames}) >= 58
    assert sum(set(r.frames) == set(CAMERAS) for r in rounds) >= 4


def test_a_camera_whose_clock_is_wrong_serves_when_the_others_are_dead():
    frames = drive(1.0, offset=10.0) + [("right", 11.0 + number / 30) for number in range(30)]
    assert [set(r.frames) for r in rounds_of(frames)[-10:]] == [{"right"}] * 10


def test_a_dead_camera_is_waited_for_once():
    frames = [(camera, stamp) for camera, stamp in drive() if camera != "right" or stamp < 1]
    rounds = rounds_of(frames)
    assert 59 <= len(rounds) <= 61 and rounds[-1].missing == ("right",)


def test_tables_that_could_not_be_made_are_not_those_of_before(monkeypatch):
    made = ["of the camera as it was", MemoryError(), "of the camera as it is"]

    def around(views, grids, **settings):
        result = made.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(joint, "Around", around)
    ground = JointGround(None, Mount(1.2, 0.3), lambda before, after: None)

    def camera():
        return {"front": Seen("front", 0, SimpleNamespace(view=None, grid=None), None)}

    before, after = camera(), camera()
    assert ground._around_of(before) == "of the camera as it was"
    with pytest.raises(MemoryError):
        ground._around_of(after)
    assert ground._around_of(after) == "of the camera as it is"
