"""Frames of several cameras at once: each gets what it gets alone, and what goes wrong stays where it is."""

from __future__ import annotations

import numpy as np
import pytest
from colours import paint_scene
from host_gpu import HostGpu, HostRunner

from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame, FrameError
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.selftest import SelfTestError, check_answer, record_answer
from drive_seg.network import Network
from drive_seg.resources import default_network
from drive_seg.runtimes.tensorrt.builder import batch_sizes
from drive_seg.runtimes.tensorrt.engine import TensorRtEngine
from drive_seg.runtimes.tensorrt.frame_path import NotFiniteError
from drive_seg.runtimes.tensorrt.intake import Intake


def open_batches(gpu: HostGpu, network: Network, *smaller: int, largest: int = 3) -> TensorRtEngine:
    runners = [HostRunner(gpu, network, largest)]
    runners += [HostRunner(gpu, network, batch, runners[0]) for batch in smaller]
    engine = TensorRtEngine(gpu, runners, network, "fp16", "ONNX Runtime")
    engine.warm_up()
    return engine


@pytest.fixture
def gpu(host_kernels) -> HostGpu:
    return HostGpu(host_kernels)


@pytest.fixture
def engine(gpu, colour_network):
    engine = open_batches(gpu, colour_network, 1, 2)
    yield engine
    engine.close()  # checks that nothing was written beside any memory
    assert not gpu.live


@pytest.fixture
def frames(rng) -> list[Frame]:
    """Three pictures of one size."""
    pictures = [np.roll(paint_scene(180, 320), 40 * i, 1) + rng.integers(0, 20, (180, 320, 3)) for i in range(3)]
    return [Frame.from_array(np.minimum(picture, 255).astype(np.uint8)) for picture in pictures]


def together(engine, frames, sizes=None):
    sizes = sizes or [frame.size for frame in frames]
    return engine.decode_batch(frames, sizes, [{} for _ in frames])


def assert_alone(engine, frames, results, sizes=None) -> None:
    """Bit for bit what each frame gives when it goes by itself."""
    assert len(results) == len(frames)
    for i, (frame, result) in enumerate(zip(frames, results, strict=True)):
        wanted = engine.decode(frame, sizes[i] if sizes else frame.size, {})
        for name in ("labels", "classes", "confidence"):
            np.testing.assert_array_equal(getattr(result, name), getattr(wanted, name))
        assert len(np.unique(wanted.labels)) >= 2


@pytest.mark.parametrize("cameras, sizes", [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (6, (1, 2, 4, 6))])
def test_the_batches_for_so_many_cameras(cameras, sizes):
    assert batch_sizes(cameras) == sizes


@pytest.mark.parametrize("batch", [2, 3])
def test_a_batch_gives_each_frame_what_it_gets_alone(engine, frames, batch):
    assert engine.batches == (1, 2, 3)
    before = engine._runners[batch].runs
    results = together(engine, frames[:batch])
    assert engine._runners[batch].runs > before, "they went one by one"
    assert_alone(engine, frames[:batch], results)
    assert not np.array_equal(results[0].labels, results[1].labels)


def test_the_network_that_ships_gives_each_frame_what_it_gets_alone(gpu, street):
    engine = open_batches(gpu, Network.load(default_network()), 1)
    frames = [Frame.from_array(image) for image in (street[0], np.ascontiguousarray(street[0][:, ::-1]), street[1])]
    assert_alone(engine, frames, together(engine, frames))
    engine.close()


def test_cameras_that_differ_share_a_batch_in_any_order(engine, gpu, frames):
    mixed = [Frame.from_array(paint_scene(241, 323)), frames[0], Frame.from_array(paint_scene(180, 320), "rgb8")]
    sizes = [(241, 323), (96, 160), (180, 320)]
    assert_alone(engine, mixed, together(engine, mixed, sizes), sizes)
    together(engine, mixed, sizes)
    captured = gpu.captures
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        results = together(engine, [mixed[i] for i in order], [sizes[i] for i in order])
        assert [result.labels.shape for result in results] == [sizes[i] for i in order]
    assert gpu.captures == captured, "set up again"
    assert_alone(engine, [mixed[i] for i in order], results, [sizes[i] for i in order])


def test_each_batch_is_captured_once_and_takes_no_more_memory(engine, gpu, frames):
    together(engine, frames)
    captured, taken = gpu.captures, gpu.allocations
    for batch in (1, 2, 3, 2, 1, 3):
        assert_alone(engine, frames[:batch], together(engine, frames[:batch]))
    assert gpu.captures == captured + 2  # of one and of two: that of three was there
    large = [Frame.from_array(np.zeros((1080, 1920, 4), np.uint8), "bgra8")] * 3
    assert [result.labels.shape for result in together(engine, large)] == [(1080, 1920)] * 3
    assert gpu.allocations == taken, "memory was not taken ahead"


def test_stages_are_those_of_each_frame(engine, frames):
    stages = [{}, {}]
    engine.decode_batch(frames[:2], [(96, 160)] * 2, stages)
    assert all(set(one) == {"copy_in", "gpu", "copy_out"} for one in stages)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_overflow_of_one_frame_is_its_own_error(engine, frames, place):
    engine._runners[3].spoil = place
    results = together(engine, frames)
    assert isinstance(results[place], NotFiniteError)
    others = [i for i in range(3) if i != place]
    assert_alone(engine, [frames[i] for i in others], [results[i] for i in others])
    engine._runners[3].spoil = None
    assert_alone(engine, frames, together(engine, frames))


def test_a_frame_that_can_not_be_read_is_its_own_error(engine, frames, monkeypatch):
    pixels = Intake.pixels

    def refuse(self, frame):
        if frame is frames[1]:
            raise FrameError("no image")
        return pixels(self, frame)

    monkeypatch.setattr(Intake, "pixels", refuse)
    results = together(engine, frames)
    assert isinstance(results[1], FrameError)
    assert_alone(engine, frames[::2], results[::2])
    monkeypatch.undo()
    assert_alone(engine, frames, together(engine, frames))


def test_a_gpu_error_is_that_of_all_and_ends_the_engine(engine, gpu, frames):
    together(engine, frames)
    gpu.broken = "the context is lost"
    with pytest.raises(EngineError, match="the context is lost"):
        together(engine, frames)
    gpu.broken = None
    for batch in (1, 3):
        with pytest.raises(EngineError, match="the context is lost.*configure"):
            together(engine, frames[:batch])


def test_results_of_an_earlier_batch_are_never_given(engine, gpu, frames):
    first = together(engine, frames)
    kept = [result.labels.copy() for result in first]
    together(engine, frames[::-1])
    for result, labels in zip(first, kept, strict=True):
        np.testing.assert_array_equal(result.labels, labels)
    gpu.replay = lambda graph: None  # a GPU that says it is done and did nothing
    with pytest.raises(EngineError, match="earlier frame"):
        together(engine, frames)


def test_no_memory_for_all_slots_is_an_error_at_the_start(gpu, colour_network):
    runners = [HostRunner(gpu, colour_network, 2)]
    runners.append(HostRunner(gpu, colour_network, 1, runners[0]))
    gpu.free_bytes = 30 << 20  # for one frame at a time
    with pytest.raises(EngineError, match="memory is used up"):
        TensorRtEngine(gpu, runners, colour_network, "fp16", "ONNX Runtime")


def test_the_self_test_looks_at_every_place_of_a_batch(engine, colour_network):
    answer = record_answer(Segmenter(engine, colour_network.table))
    check_answer(Segmenter(engine, colour_network.table), answer)
    for place in (0, 2):
        right = engine._runners[3].enqueue

        def wrong(place=place, right=right):
            """The network at this place sees what the one beside it does."""
            right()
            logits = engine._gpu.view(engine._runners[3].logits).reshape(3, -1)
            logits[place] = logits[1]

        engine._runners[3].enqueue = wrong
        with pytest.raises(SelfTestError, match=r"on tensorrt \(fp16\) in batches of 3 "):
            check_answer(Segmenter(engine, colour_network.table), answer)
        engine._runners[3].enqueue = right


def test_an_engine_on_the_cpu_takes_one_after_the_other(colour_engine, frames):
    assert colour_engine.batches == (1,)
    results = colour_engine.decode_batch(frames, [(96, 160)] * 3, [{}, {}, {}])
    assert_alone(colour_engine, frames, results, [(96, 160)] * 3)
