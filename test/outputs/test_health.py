"""When health and diagnostics are due."""

from drive_seg.core.health.status import Health, Level, Status
from drive_seg.outputs.health import Changes


def geometry(reason=""):
    return [Status("camera"), Status("geometry", Level.WARN, reason) if reason else Status("geometry")]


def reported(*looks):
    """(time, state and reasons) of what is due of ~/health, of looks (time, statuses)."""
    changes = Changes()
    return [(now, due.health) for now, statuses in looks if (due := changes.look(statuses, now)).health is not None]


def test_health_is_reported_on_a_change_only():
    states = reported((0.0, geometry()), (0.1, geometry()), (0.2, geometry("no pose")), (9.0, geometry("no pose")),
                  (9.1, geometry()))
    assert states == [(0.0, (Health.READY, ())), (0.2, (Health.DEGRADED, ("geometry: no pose",))),
                      (9.1, (Health.READY, ()))]


def test_another_reason_is_reported_within_a_second_and_figures_are_none():
    times = [now for now, _ in reported((0.0, geometry("no pose at 10.1")), (5.0, geometry("no pose at 15.1")),
                                    (5.1, geometry("no CameraInfo")), (5.2, geometry("no pose at 15.3")),
                                    (5.9, geometry("no pose at 16.0")), (6.1, geometry("no pose at 16.2")),
                                    (6.2, geometry("no pose at 16.3")))]
    assert times == [0.0, 5.1, 6.1]


def test_a_clock_that_jumps_back_holds_no_reason_back():
    assert len(reported((100.0, geometry("no pose")), (3.0, geometry("no CameraInfo")))) == 2
