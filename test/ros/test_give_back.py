"""malloc's memory of an image that was much larger than the next goes back to the kernel."""

from drive_seg.ros import transport
from drive_seg.ros.worker import Worker


def test_after_one_large_image_and_at_most_once_a_second(monkeypatch):
    given: list[float] = []
    worker = Worker(None, {}, print, None, lambda: 0.0)
    small, large = 320 * 180, 6900 * 6900
    for pixels, now in ((small, 0.0), (small, 1.0), (large, 2.0), (small, 3.0), (large, 3.5), (small, 3.9)):
        monkeypatch.setattr(transport, "give_back", lambda now=now: given.append(now))
        worker._give_back(pixels, now)
    assert given == [3.0], "3.9 is too soon after 3.0"


def test_the_c_library_takes_it():
    transport.give_back()
