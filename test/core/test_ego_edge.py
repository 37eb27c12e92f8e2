"""Where the vehicle ends beside an ego mask."""

import numpy as np
import pytest

from drive_seg.core.classes import ClassTable, Group, SegClass
from drive_seg.core.decode import Decoded
from drive_seg.core.ego_edge import end_at_mask, upper_edge

ROAD, CAR, OWN = 0, 1, 2
TABLE = ClassTable([SegClass(ROAD, "road", Group.ROAD, (1, 1, 1), True),
                    SegClass(CAR, "car", Group.OBSTACLE, (2, 2, 2), False),
                    SegClass(OWN, "ego_vehicle", Group.BACKGROUND, (3, 3, 3), False, ego=True)])
HEIGHT, WIDTH, FOOT = 100, 6, 90


def picture(above, strip):
    """What the network sees: one class above a strip of its own vehicle, which reaches this far above the mask."""
    classes = np.full((HEIGHT, WIDTH), OWN, np.uint8)
    classes[:FOOT - strip] = above
    confidence = np.full((HEIGHT, WIDTH), 90, np.uint8)
    confidence[:FOOT - strip] = 200
    return Decoded(classes, TABLE.group_lut[classes], confidence)


@pytest.fixture
def ego():
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[FOOT:] = True
    return mask


@pytest.mark.parametrize(("above", "label"), [(ROAD, Group.ROAD), (CAR, Group.OBSTACLE)])
def test_a_thin_strip_above_the_mask_is_what_lies_above_it(ego, above, label):
    decoded = picture(above, 3)
    end_at_mask(decoded, TABLE, upper_edge(ego))
    assert (decoded.classes[:FOOT] == above).all()
    assert (decoded.labels[:FOOT] == label).all()
    assert (decoded.confidence[:FOOT] == 200).all()
    assert (decoded.classes[FOOT:] == OWN).all()
    assert (decoded.confidence[FOOT:] == 90).all()


def test_what_the_mask_leaves_out_stays_the_vehicle(ego):
    decoded = picture(ROAD, 4)  # over 3 % of the height
    end_at_mask(decoded, TABLE, upper_edge(ego))
    assert (decoded.classes == picture(ROAD, 4).classes).all()
    assert (decoded.labels == picture(ROAD, 4).labels).all()


def test_a_column_without_the_mask_is_left_alone(ego):
    ego[:, 2] = False
    ego[:, 4] = False
    ego[10:20, 4] = True  # a roof rack or a logo, not the bonnet
    decoded = picture(ROAD, 3)
    end_at_mask(decoded, TABLE, upper_edge(ego))
    kept = (decoded.classes[FOOT - 3:FOOT] == OWN).all(axis=0)
    assert kept.tolist() == [False, False, True, False, True, False]


def test_a_picture_that_is_all_vehicle(ego):
    decoded = picture(ROAD, FOOT)
    end_at_mask(decoded, TABLE, upper_edge(ego))
    end_at_mask(decoded, TABLE, upper_edge(np.ones_like(ego)))
    assert (decoded.classes == OWN).all()
