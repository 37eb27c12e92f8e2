"""The one way of a frame: opened from settings, judged, segmented, and what health learns of it."""

import dataclasses

import numpy as np
import pytest

from drive_seg import runtimes
from drive_seg.core.engine import EngineError
from drive_seg.core.frame import Frame
from drive_seg.core.health.status import Health
from drive_seg.core.segmenter import Segmenter
from drive_seg.errors import ParameterError
from drive_seg.pipeline import Model, Pipeline
from drive_seg.runtimes import openvino
from drive_seg.settings import Settings


@pytest.fixture(scope="module")
def model(colour_network_path):
    with Model.open(Settings(network=str(colour_network_path), engine="openvino", latency_budget=40.0)) as model:
        yield model


@pytest.fixture
def make(model):
    """A pipeline on the model with other settings."""
    return lambda **changes: Pipeline(Settings(engine="openvino", **changes), model)


def frames(scene):
    """The scene seen in passing, so that it does not stand still."""
    noise = np.random.default_rng(0).integers(0, 40, scene.shape, np.uint8)
    for number in range(10**6):
        yield Frame.from_array(np.roll(scene // 2 + noise, 5 * number, axis=1))


def test_it_says_what_the_segmenter_says(make, colour_engine, colour_network, scene):
    expected = Segmenter(colour_engine, colour_network.table).segment(scene)
    pipeline = make()
    frame = Frame.from_array(scene)
    answer = pipeline.answer(frame, pipeline.look(frame, 1.0, 1.0))
    assert answer.sound is not None and answer.sound is answer.segmentation
    for result in (answer.segmentation, pipeline.segment(scene)):
        for name in ("labels", "classes", "confidence", "drivable"):
            assert np.array_equal(getattr(result, name), getattr(expected, name)), name
    assert pipeline.answer(frame, True, drivable=False).segmentation.drivable is None


def test_output_size_and_ego_mask_follow_the_settings(make, model, scene, tmp_path):
    import cv2

    small = make(output_size="network")
    assert small.segment(scene).labels.shape == model.engine.input_size
    cv2.imwrite(str(tmp_path / "ego.png"), np.full((4, 4), 255, np.uint8))
    assert make().segment(scene).drivable.any()
    assert not make(ego_mask=str(tmp_path / "ego.png")).segment(scene).drivable.any()


@pytest.mark.parametrize("policy", ["silent", "unknown"])
def test_what_is_published_of_a_frame_that_can_not_be_used(make, scene, policy):
    pipeline = make(fault_policy=policy)
    frame = Frame.from_array(scene)

    def broken(stages):
        raise EngineError("out of memory", "free some")

    answers = [pipeline.answer(frame, False), pipeline.answer(frame, True, decode=broken)]
    assert [(a.sound, a.believed) for a in answers] == [(None, False), (None, True)]
    for answer in answers:
        if policy == "silent":
            assert answer.segmentation is None
        else:
            assert (answer.segmentation.labels == 255).all() and not answer.segmentation.drivable.any()
    assert "out of memory" in pipeline.failed(answers[1].error, 2.0)
    assert pipeline.monitor.state(2.0)[0] is Health.FAULT
    bug = pipeline.answer(frame, True, decode=lambda stages: None)
    assert isinstance(bug.error, AttributeError), "the owner decides what to do with a bug"


def test_a_frame_that_stands_still_is_not_believed_and_a_live_change_allows_it(make, scene):
    pipeline = make(frozen_timeout=0.5)
    pipeline.start(0.0)
    frame = Frame.from_array(scene)

    def look(now):
        pipeline.monitor.received(now)
        return pipeline.look(frame, now, now)

    assert [look(i / 10) for i in range(1, 12)][-1] is False
    pipeline.use(dataclasses.replace(pipeline.settings, frozen_timeout=0.0, min_confidence=0.9))
    assert look(1.3) and pipeline.segmenter.rule.min_confidence == 0.9


def test_the_temporal_filter_starts_again_where_frames_do_not_follow(make, scene):
    pipeline = make(temporal_filter=True)
    resets = []
    pipeline.segmenter.temporal.reset = lambda: resets.append(True)
    stamps = [1.0, 1.1, 1.2, 3.0, 2.0, 2.1]
    seen = []
    for stamp in stamps:
        resets.clear()
        pipeline.segment(scene, stamp=stamp)
        seen.append(bool(resets))
    assert seen == [True, False, False, True, True, False]
    resets.clear()
    pipeline.segment(scene)
    assert resets, "without a stamp each frame is on its own"


def test_the_smaller_sizes_take_batches_too(colour_network_path, monkeypatch):
    asked = []

    def open_engine(*arguments, **options):
        asked.append(options["cameras"])
        return runtimes.open_engine(*arguments, **options)

    monkeypatch.setattr("drive_seg.pipeline.open_engine", open_engine)
    settings = Settings(network=str(colour_network_path), engine="openvino", latency_budget=40.0)
    with Model.open(settings, cameras=3) as model:
        assert len(model.spares) == 2 and asked == [3, 3, 3]


def test_a_missed_budget_takes_a_smaller_size_until_the_next_start(make, model, scene):
    pipeline = make(latency_budget=40.0)
    pipeline.start(0.0)
    said = []
    for number, frame in zip(range(30), frames(scene), strict=False):
        now = 1 + number / 10
        pipeline.monitor.received(now)
        answer = pipeline.answer(frame, pipeline.look(frame, now, now))
        pipeline.finished(answer.segmentation, 0.1, 0, now)
        said.append(pipeline.keep_budget(now))
    lines = [line for line in said if line]
    assert said[:9] == [None] * 9 and len(lines) == len(model.spares) == 2
    assert lines[0].startswith("the latency budget was missed for 1 s: the network now sees 128x64")
    assert pipeline.segmenter.engine is model.spares[1] and pipeline.size_of(frame) == frame.size
    pipeline.start(10.0)
    assert pipeline.segmenter.engine is model.engine and pipeline.monitor.latency.over_budget_for(10.0) == 0


def test_several_engines_open_in_what_auto_finds_also_where_it_has_no_name(colour_network_path, monkeypatch):
    monkeypatch.setattr(openvino, "_SHORT", {"f32": "fp16", "bf16": "fp16"})  # as on ARM, where OpenVINO takes fp16
    with Model.open(Settings(network=str(colour_network_path), engine="openvino"), cores=2, several=True) as model:
        assert [engine.precision for engine in model.engines] == ["fp16", "fp16"]


def test_several_engines_take_the_precision_that_is_named(colour_network_path):
    settings = Settings(network=str(colour_network_path), engine="openvino", precision="fp32")
    with Model.open(settings, cores=2, several=True) as model:
        assert [engine.precision for engine in model.engines] == ["fp32", "fp32"]


def test_opened_from_settings_it_closes_what_it_opened(colour_network_path, tmp_path, monkeypatch):
    settings = Settings(network=str(colour_network_path), engine="openvino", strictness=2.0)
    with Pipeline.open(settings) as pipeline:
        assert pipeline.model.facts["network"] == "colours" and pipeline.model.engine.name == "openvino"
        closed = []
        monkeypatch.setattr(pipeline.model.engine, "close", lambda: closed.append(True))
    assert closed
    with pytest.raises(ParameterError, match="ego_mask: there is no file"):
        Pipeline.open(dataclasses.replace(settings, ego_mask=str(tmp_path / "nothing.png")))


def test_several_engines_share_the_cores(colour_network_path):
    with Model.open(Settings(network=str(colour_network_path), engine="openvino"), cores=2, several=True) as model:
        assert [engine.threads for engine in model.engines] == [1, 1]
