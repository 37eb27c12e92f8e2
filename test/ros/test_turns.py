"""Who has the engine next, in simulated time: no thread sleeps and no clock is read."""

import threading
from collections import Counter

import pytest

from drive_seg.ros.turns import Turns


class Simulation:
    """Cameras that ask as soon as they have a frame, at engines that take a while; runs the real queue.

    rates: frames a second of each camera, weights likewise. work: seconds a frame.
    """

    def __init__(self, rates, weights=None, work=0.05, engines=1):
        self.turns = Turns([f"engine {i}" for i in range(engines)])
        self.places = [self.turns.join(w) for w in (weights or [1.0] * len(rates))]
        self.rates, self.work = rates, work

    def run(self, seconds):
        """Frames that each camera had worked on. A camera has one frame at most waiting, the newest."""
        done, asks, running, now = Counter(), set(), [], 0.0
        arrivals = [(i / rate, camera) for camera, rate in enumerate(self.rates) for i in range(round(seconds * rate))]
        events = sorted(arrivals) + [(float("inf"), None)]
        waits = {}
        for at, camera in events:
            while running and running[0][0] <= at:
                now, finished = running.pop(0)
                done[finished] += 1
                asks.discard(finished)
                again = waits.pop(finished, False)
                self.places[finished].end(again)
                if again:
                    asks.add(finished)
                self._start(asks, running, now)
            if camera is None:
                break
            now = at
            if camera in asks:
                waits[camera] = True  # a newer frame takes the place of the one that waits
            else:
                self._ask(camera, asks)
            self._start(asks, running, now)
        return [done[camera] for camera in range(len(self.rates))]

    def _ask(self, camera, asks):
        asks.add(camera)
        self.places[camera].ask()

    def _start(self, asks, running, now):
        busy = {camera for _, camera in running}
        for camera in asks - busy:
            if self.places[camera]._granted is not None:
                running.append((now + self.work, camera))
        running.sort()


def test_three_cameras_get_a_third_each():
    done = Simulation([30, 30, 30]).run(30)
    assert sum(done) >= 0.98 * 30 * 20 and max(done) - min(done) <= 2


def test_a_flooding_camera_takes_nothing_from_the_others():
    done = Simulation([30, 1000, 30]).run(30)
    assert max(done) - min(done) <= 2


def test_a_slow_camera_gets_all_its_frames_and_the_others_share_the_rest():
    done = Simulation([30, 30, 2]).run(30)
    assert done[2] == 60 and abs(done[0] - done[1]) <= 2 and sum(done) >= 0.98 * 600


def test_a_dead_camera_takes_nothing():
    done = Simulation([30, 0, 30]).run(30)
    assert done[1] == 0 and sum(done) >= 0.98 * 600 and abs(done[0] - done[2]) <= 2


@pytest.mark.parametrize("weights", [(2, 1, 1), (1, 1, 2)])
def test_the_share_is_that_of_the_weight(weights):
    done = Simulation([30, 30, 30], weights).run(60)
    for frames, weight in zip(done, weights, strict=True):
        assert frames == pytest.approx(sum(done) * weight / sum(weights), rel=0.1)


def test_two_engines_serve_twice_as_many():
    done = Simulation([30, 30, 30], engines=2).run(30)
    assert sum(done) >= 0.95 * 30 * 40 and max(done) - min(done) <= 0.1 * sum(done) / 3


def test_threads_take_turns_one_at_a_time():
    queue, lock, order = Turns(["engine"]), threading.Lock(), []

    def work(place, name):
        for _ in range(20):
            assert place.take() == "engine"
            assert lock.acquire(blocking=False), "one at a time"
            order.append(name)
            lock.release()
            place.end()
            place.end()  # once more does nothing

    threads = [threading.Thread(target=work, args=(queue.join(), name)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert Counter(order) == {"a": 20, "b": 20, "c": 20}
