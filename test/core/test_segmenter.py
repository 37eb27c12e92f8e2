"""From frame to segmentation, through a real network on a real engine."""

import numpy as np
import pytest

from drive_seg.core.classes import UNKNOWN, Group
from drive_seg.core.decode import TrustModel
from drive_seg.core.drivable import DrivableRule
from drive_seg.core.segmenter import Segmenter
from drive_seg.core.surface import SurfaceRule
from drive_seg.core.temporal import TemporalFilter
from drive_seg.runtimes.openvino import OpenVinoEngine


@pytest.fixture
def segmenter(colour_engine, colour_network):
    return Segmenter(colour_engine, colour_network.table)


def test_a_painted_street_is_labelled_as_painted(segmenter, scene):
    result = segmenter.segment(scene)
    height, width = scene.shape[:2]
    at = {"sky": (60, 320), "road": (340, 320), "pavement": (340, 40), "car": (height * 11 // 18, width * 12 // 20)}
    for name, (y, x) in at.items():
        assert segmenter.table.names[result.classes[y, x]] == name
    assert result.labels[60, 320] == Group.BACKGROUND
    assert result.labels[height * 11 // 18, width * 12 // 20] == Group.OBSTACLE
    assert result.confidence[340, 320] > 250
    for image in (result.labels, result.classes, result.drivable, result.confidence):
        assert image.shape == scene.shape[:2]
        assert image.dtype == np.uint8


def test_road_behind_a_car_is_not_drivable(segmenter, scene):
    drivable = segmenter.segment(scene).drivable
    height, width = scene.shape[:2]
    assert drivable[340, 320] == 255
    assert drivable[height * 6 // 9 + 20, width * 12 // 20] == 255  # in front of it
    assert drivable[height // 2 + 8, width * 12 // 20] == 0  # behind it, though labelled road
    assert drivable[340, 40] == 0  # pavement


def test_what_the_trust_limit_rejects_is_unknown_and_not_drivable(colour_network, scene):
    from dataclasses import replace

    classes = len(colour_network.table)
    trust = TrustModel(np.zeros(classes, np.float32), np.ones(classes, np.float32), 1e9)
    engine = OpenVinoEngine(replace(colour_network, trust=trust))
    result = Segmenter(engine, colour_network.table).segment(scene)
    assert (result.labels == UNKNOWN).all()
    assert not result.drivable.any()


def test_the_ego_mask_hides_the_vehicle(colour_engine, colour_network, scene):
    scene[-60:] = (20, 30, 200)  # a red bonnet, which the network calls a car
    assert not Segmenter(colour_engine, colour_network.table).segment(scene).drivable.any()
    mask = np.zeros((6, 10), np.uint8)  # any size
    mask[-1] = 255
    drivable = Segmenter(colour_engine, colour_network.table, DrivableRule(), mask).segment(scene).drivable
    assert drivable[280, 320] == 255
    assert not drivable[-60:].any()


def test_beside_an_ego_mask_the_network_s_own_edge_does_not_count(colour_engine, colour_network, scene):
    from dataclasses import replace

    from drive_seg.core.classes import ClassTable

    table = ClassTable([replace(c, ego=True, group=Group.BACKGROUND) if c.name == "car" else c
                        for c in colour_network.table.classes])
    scene[-60:] = (20, 30, 200)  # a red bonnet, which this network takes for the vehicle itself
    mask = np.zeros(scene.shape[:2], np.uint8)
    mask[-54:] = 255  # begins a little below
    without = Segmenter(colour_engine, table).segment(scene)
    result = Segmenter(colour_engine, table, ego=mask).segment(scene)
    assert table.names[without.classes[-57, 320]] == "car"
    assert table.names[result.classes[-57, 320]] == "road"
    assert result.labels[-57, 320] == Group.ROAD


def test_results_come_in_the_size_asked_for(segmenter, scene):
    assert segmenter.segment(scene, size=(96, 160)).labels.shape == (96, 160)
    assert segmenter.segment(scene[:101, :333]).labels.shape == (101, 333)


def test_stages_are_timed(segmenter, scene):
    assert set(segmenter.segment(scene).stages) == {"resize", "infer", "decode", "drivable"}
    assert "drivable" not in segmenter.segment(scene, drivable=False).stages


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (2, 1000), (1000, 2), (3, 5)])
def test_a_picture_of_any_shape_is_segmented(colour_engine, colour_network, size):
    segmenter = Segmenter(colour_engine, colour_network.table, surface=SurfaceRule(8.0), temporal=TemporalFilter())
    for _ in range(2):
        result = segmenter.segment(np.full((*size, 3), 90, np.uint8))
    assert result.labels.shape == result.drivable.shape == result.confidence.shape == size
