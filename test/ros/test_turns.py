"""Who has the engine next, and which frames go through it together, in simulated time."""

import heapq
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from drive_seg.core.decode import Decoded
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.ros.turns import Turns


class Simulation:
    """Cameras that ask as soon as they have a frame, at engines that take a while; runs the real queue.

    rates: frames a second of each camera, weights likewise. work: seconds a frame.
    """

    def __init__(self, rates, weights=None, work=0.05, engines=1):
        self.turns = Turns([SimpleNamespace(batches=(1,)) for _ in range(engines)])
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
    engine = SimpleNamespace(batches=(1,))
    queue, lock, order = Turns([engine]), threading.Lock(), []

    def work(place, name):
        for _ in range(20):
            assert place.take() is engine
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


# ---- an engine that runs several frames at once ----


class Batches:
    """Cameras at one engine that takes 20 ms for a frame and 10 ms for each more that goes with it; each camera then
    takes 5 ms to publish. Runs the real queue. rates: frames a second of each camera, weights likewise."""

    def __init__(self, rates, weights=None, batches=(1, 2, 3)):
        self.turns = Turns([SimpleNamespace(batches=batches)])
        self.places = [self.turns.join(w) for w in (weights or [1.0] * len(rates))]
        self.rates = rates
        self.sizes = Counter()
        """How many batches there were of each size."""
        self.longest = [0.0] * len(rates)
        """Seconds that a camera with a frame waited for its turn, at most."""

    def run(self, seconds):
        """Frames that each camera had worked on. A camera has one frame at most waiting, the newest."""
        done, waiting, running, ready = Counter(), {}, set(), [0.0] * len(self.rates)
        events = [(i / rate, 2, "frame", camera) for camera, rate in enumerate(self.rates)
                  for i in range(round(seconds * rate))]
        heapq.heapify(events)
        while events:
            now, _, what, camera = heapq.heappop(events)
            if what == "frame":
                waiting.setdefault(camera, now)
            elif what == "done":
                running.discard(camera)
                done[camera] += 1
                ready[camera] = now + 0.005
                heapq.heappush(events, (ready[camera], 1, "published", camera))
                self.places[camera].end(again=camera in waiting)
            if camera in waiting and camera not in running and ready[camera] <= now:
                self.places[camera].ask()
            granted = {i for i, place in enumerate(self.places) if place._granted is not None} - running
            if granted and now < seconds:
                self.sizes[len(granted)] += 1
                start = max(now, *(ready[i] for i in granted))
                for i in granted:
                    self.longest[i] = max(self.longest[i], start - waiting.pop(i))
                    heapq.heappush(events, (start + 0.01 + 0.01 * len(granted), 0, "done", i))
                running |= granted
        return [done[camera] for camera in range(len(self.rates))]


def test_frames_that_wait_together_go_together():
    alone, together = Batches([30, 30, 30], batches=(1,)), Batches([30, 30, 30])
    one_by_one, done = alone.run(30), together.run(30)
    assert max(done) - min(done) <= 2 and sum(done) >= 1.3 * sum(one_by_one)
    assert set(alone.sizes) == {1} and together.sizes[3] > together.sizes[1] + together.sizes[2]
    assert max(together.longest) < max(alone.longest)


def test_no_camera_waits_for_frames_that_are_not_there():
    engine = Batches([3, 2, 1])
    assert engine.run(10) == [30, 20, 10]
    assert max(engine.longest) <= 0.021  # a frame that is in work when another comes


@pytest.mark.parametrize("rates", [(30, 1000, 30), (30, 0, 30), (30, 30, 2)])
def test_in_batches_a_camera_that_floods_or_is_silent_takes_nothing_from_the_others(rates):
    engine = Batches(rates)
    done = engine.run(30)
    usual = Batches([30, 30, 30]).run(30)
    for frames, rate, least in zip(done, rates, usual, strict=True):
        assert frames >= min(rate * 30, least - 2)
    assert max(engine.longest) <= 0.1


@pytest.mark.parametrize("weights", [(2, 1, 1), (1, 1, 2), (0.5, 1, 1)])
def test_in_batches_the_share_is_that_of_the_weight(weights):
    done = Batches([200, 200, 200], weights).run(60)
    for frames, weight in zip(done, weights, strict=True):
        assert frames == pytest.approx(sum(done) * weight / sum(weights), rel=0.1)


def test_of_five_that_wait_four_go_at_most_and_none_is_left_out_for_long():
    turns = Turns([SimpleNamespace(batches=(1, 2, 4))])
    places = [turns.join() for _ in range(5)]
    for place in places:
        place.ask()
    went, sizes, left = Counter(), Counter(), Counter()
    for _ in range(50):
        now = [i for i, place in enumerate(places) if place._granted is not None]
        went.update(now)
        sizes[len(now)] += 1
        left = Counter({i: left[i] + 1 for i in range(5) if i not in now})
        assert max(left.values(), default=0) <= 2
        for i in now:
            places[i].end()
            places[i].ask()
    assert set(sizes) <= {1, 2, 4} and sizes[4] > 25
    assert max(went.values()) - min(went.values()) <= 2


FRAME = Frame.from_array(np.zeros((2, 2, 3), np.uint8))


class Engine:
    """Runs batches in no time, or in `takes` seconds of its own clock by their size."""

    name = "fake"

    def __init__(self, takes=None, batches=(1, 2, 3)):
        self.batches, self.takes = batches, takes or {}
        self.sizes, self.now, self.fails = [], 0.0, None

    def decode_batch(self, frames, sizes, stages):
        self.now += self.takes.get(len(frames), 0.0)
        self.sizes.append(len(frames))
        if self.fails is not None:
            raise self.fails
        return [FrameError("no image") if size == (0, 0) else Decoded(*[np.full(size, size[0], np.uint8)] * 3)
                for size in sizes]


class Cameras:
    """Three of them, with a thread each, that have a frame at the same time."""

    def __init__(self, engine, budget=None):
        self.engine = engine
        turns = Turns([engine], budget, lambda: engine.now)
        self.holder, self.places = turns.join(), [turns.join() for _ in range(3)]

    def show(self, *works):
        """What comes of each camera's work in its turn, an exception where it ends in one. None: it does not come."""
        self.holder.take()
        for place in self.places:
            place.ask()
        self.holder.end()  # and all three are granted what the engine takes
        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(self._turn, place, work) for place, work in zip(self.places, works, strict=True)
                       if work is not None]
            return [future.exception(30) or future.result(30) for future in futures]

    @staticmethod
    def _turn(place, work):
        engine = place.take()
        try:
            return work(place, engine)
        finally:
            place.end()


def brings(number, other=None):
    """A frame whose results are this number."""
    return lambda place, engine: place.decode(other or engine, FRAME, (number, number), {}).labels.max()


def test_each_camera_gets_the_result_of_its_own_frame():
    cameras = Cameras(Engine())
    for _ in range(20):
        assert cameras.show(brings(1), brings(2), brings(3)) == [1, 2, 3]
    assert cameras.engine.sizes == [3] * 20


def test_a_camera_that_needs_no_engine_drops_out():
    cameras = Cameras(Engine())
    assert cameras.show(brings(1), lambda place, engine: "idle", brings(3)) == [1, "idle", 3]
    assert cameras.engine.sizes == [2]
    assert cameras.show(*[lambda place, engine: "idle"] * 3) == ["idle"] * 3
    assert cameras.show(*[lambda place, engine: place.leave()] * 3) == [None] * 3
    assert cameras.show(brings(1), brings(2), brings(3)) == [1, 2, 3], "the engine is free again"


def test_an_error_of_one_frame_is_that_camera_s_and_one_of_the_engine_that_of_all():
    cameras = Cameras(Engine())
    first, second, third = cameras.show(brings(1), brings(0), brings(3))
    assert (first, third) == (1, 3) and isinstance(second, FrameError)
    cameras.engine.fails = EngineError("the GPU failed")
    assert [str(error) for error in cameras.show(brings(1), brings(2), brings(3))] == ["the GPU failed"] * 3
    cameras.engine.fails = None
    assert cameras.show(brings(1), brings(2), brings(3)) == [1, 2, 3]
    right, cameras.engine.decode_batch = cameras.engine.decode_batch, lambda *_: []
    assert [str(e) for e in cameras.show(brings(1), brings(2), brings(3))] == ["fake gave 0 results for 3 frames"] * 3
    cameras.engine.decode_batch = right
    assert cameras.show(brings(1), brings(2), brings(3)) == [1, 2, 3]


def test_a_camera_on_a_smaller_input_size_goes_by_itself():
    cameras, spare = Cameras(Engine()), Engine(batches=(1,))
    assert cameras.show(brings(1), brings(2, spare), brings(3)) == [1, 2, 3]
    assert cameras.engine.sizes == [2] and spare.sizes == [1]


@pytest.mark.parametrize("budget, sizes", [(None, [3, 3, 3]), (0.12, [3, 3, 3]), (0.1, [3, 2, 1, 2, 1]),
                                           (0.07, [3, 2, 1, 1, 1, 1])])
def test_a_batch_that_takes_more_than_half_the_latency_budget_gives_way_to_a_smaller_one(budget, sizes):
    cameras = Cameras(Engine({1: 0.03, 2: 0.045, 3: 0.06}), budget)
    for _ in range(3):
        assert cameras.show(brings(1), brings(2), brings(3)) == [1, 2, 3]
    assert cameras.engine.sizes == sizes
    cameras.engine.now += 20  # what it was then says little of now
    cameras.engine.sizes.clear()
    cameras.engine.takes = {}
    for _ in range(3):
        cameras.show(brings(1), brings(2), brings(3))
    assert cameras.engine.sizes == [3, 3, 3]


def test_a_camera_that_does_not_come_is_not_waited_for_long():
    """As one that publishes for long, and had a frame waiting when it ended its last turn."""
    cameras = Cameras(Engine())
    turns, (first, busy, third) = cameras.holder._turns, cameras.places
    work = brings(1)

    def while_time_goes_by(place, engine):
        deadline = time.monotonic() + 30
        while not third._here and time.monotonic() < deadline:  # its thread may be late on a busy machine
            time.sleep(0.001)
        cameras.engine.now += 1.0
        return work(place, engine)

    assert cameras.show(while_time_goes_by, None, brings(3)) == [1, 3]
    assert cameras.engine.sizes == [2] and busy._granted is None and busy._finish == busy._start
    first.ask()
    assert first._granted is not None, "the engine is free"
    first.end()
    assert busy.take() is cameras.engine  # it comes at last, and is charged for one turn
    assert turns._free == [] and busy._finish == busy._start + 1
