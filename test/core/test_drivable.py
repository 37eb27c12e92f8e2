"""The drivable rule on small painted label images."""

import numpy as np
import pytest

from drive_seg.core.classes import UNKNOWN, ClassTable, Group, SegClass
from drive_seg.core.drivable import DrivableRule, drivable_area

TABLE = ClassTable([
    SegClass(0, "sky", Group.BACKGROUND, (0, 0, 0), False),
    SegClass(1, "road", Group.ROAD, (0, 0, 0), True),
    SegClass(2, "pavement", Group.PAVEMENT, (0, 0, 0), False),
    SegClass(3, "car", Group.OBSTACLE, (0, 0, 0), False),
    SegClass(4, "parking", Group.ROAD, (0, 0, 0), False),
    SegClass(5, "bonnet", Group.BACKGROUND, (0, 0, 0), False, ego=True),
])
LETTERS = {".": 0, "r": 1, "p": 2, "X": 3, "k": 4, "e": 5, "?": UNKNOWN}
RULE = DrivableRule(min_confidence=0.5, start_width=0.5, start_height=0.2, speck=0)


def run(picture: str, rule: DrivableRule = RULE, confidence=None, ego=None) -> str:
    rows = picture.split()
    classes = np.array([[LETTERS[c] for c in row] for row in rows], np.uint8)
    labels = TABLE.group_lut[classes]  # 255 stays 255: unknown
    classes[classes == UNKNOWN] = 1  # the network's own id under an unknown pixel can well be road
    if confidence is None:
        confidence = np.full(labels.shape, 255, np.uint8)
    mask = drivable_area(labels, classes, confidence, TABLE, rule, ego)
    assert set(np.unique(mask)) <= {0, 255}
    return " ".join("".join("#" if v else "-" for v in row) for row in mask)


@pytest.mark.parametrize(("picture", "expected"), [
    # plain road up to the horizon
    ("...... rrrrrr rrrrrr rrrrrr rrrrrr", "------ ###### ###### ###### ######"),
    # behind a car, nothing: the column ends at it
    ("rrrrrr rrrrrr rrXrrr rrrrrr rrrrrr", "##-### ##-### ##-### ###### ######"),
    # an unknown patch ends its column like an obstacle
    ("rrrrrr rrrrrr rr?rrr rrrrrr rrrrrr", "##-### ##-### ##-### ###### ######"),
    # road beyond a pavement across the way can't be reached
    ("rrrrrr rrrrrr pppppp rrrrrr rrrrrr", "------ ------ ------ ###### ######"),
    # road round a traffic island can: pavement is ground and does not end a column
    ("rrrrrr rrpprr rrpprr rrrrrr rrrrrr", "###### ##--## ##--## ###### ######"),
    # a side road that does not touch ours
    ("rpprrr rpprrr rpprrr rpprrr rpprrr", "---### ---### ---### ---### ---###"),
    # no road in front of the vehicle: nothing, though there is road elsewhere
    ("rrrrrr rrrrrr pppppp pppppp pppppp", "------ ------ ------ ------ ------"),
    ("rrrrrr rrrrrr rrrrrr rrrrrr XXXXXX", "------ ------ ------ ------ ------"),
    # road that is not for driving
    ("...... kkkkkk rrrrrr rrrrrr rrrrrr", "------ ------ ###### ###### ######"),
    # two arms that meet only below
    ("rrpprr rrpprr rrpprr rrrrrr rrrrrr", "##--## ##--## ##--## ###### ######"),
    # touching by a corner is not touching
    ("ppprrr ppprrr rrrppp rrrppp rrrppp", "------ ------ ###--- ###--- ###---"),
])
def test_what_can_be_reached(picture, expected):
    assert run(picture) == expected


def test_doubtful_road_is_not_drivable_but_does_not_end_the_column():
    confidence = np.full((5, 6), 255, np.uint8)
    confidence[2, 1:5] = 100
    assert run("rrrrrr rrrrrr rrrrrr rrrrrr rrrrrr", confidence=confidence) == "###### ###### #----# ###### ######"


def test_the_vehicle_itself_is_looked_over():
    ego = np.zeros((5, 6), bool)
    ego[4] = True
    assert run("...... rrrrrr rrrrrr rrrrrr XXXXXX", ego=ego) == "------ ###### ###### ###### ------"


def test_the_start_is_measured_from_the_bonnet():
    ego = np.zeros((10, 4), bool)
    ego[5:] = True
    picture = " ".join(["rrrr"] * 5 + ["XXXX"] * 5)
    assert run(picture, ego=ego).startswith("#### ####")


def test_a_region_that_starts_outside_the_middle_is_not_ours():
    assert run("ppppr ppppr ppppr ppppr ppppr") == "----- ----- ----- ----- -----"


@pytest.mark.parametrize("seed", range(40))
def test_random_images_agree_with_opencv_and_plain_loops(seed):
    import cv2

    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 40)), int(rng.integers(1, 50)))
    classes = rng.choice(5, size, p=[0.03, 0.75, 0.12, 0.02, 0.08]).astype(np.uint8)
    confidence = rng.integers(100, 256, size).astype(np.uint8)
    labels = TABLE.group_lut[classes]
    mask = drivable_area(labels, classes, confidence, TABLE, RULE)

    ground = np.isin(labels, (Group.ROAD, Group.PAVEMENT))
    open_above = np.cumprod(ground[::-1], axis=0)[::-1].astype(bool)
    candidate = open_above & TABLE.drivable_lut[classes] & (confidence >= round(0.5 * 255))
    _, regions = cv2.connectedComponents(candidate.astype(np.uint8), connectivity=4)
    half = max(1, round(size[1] * 0.25))
    start = np.zeros(size, bool)
    start[max(0, size[0] - max(1, round(size[0] * 0.2))):,
          max(0, size[1] // 2 - half):min(size[1], size[1] // 2 + half)] = True
    reached = np.unique(regions[start & candidate])
    np.testing.assert_array_equal(mask > 0, candidate & np.isin(regions, reached))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_are_between_zero_and_one(value):
    with pytest.raises(ValueError, match="min_confidence"):
        DrivableRule(min_confidence=value)


@pytest.mark.parametrize(("picture", "expected"), [
    # the vehicle itself, as the network sees it: looked over, never drivable, and the start lies above it
    ("rrrrrr rrrrrr rrrrrr eerree eeeeee", "###### ###### ###### --##-- ------"),
    # the same class elsewhere is something in the way
    ("rrrrrr rrrrrr rreerr rrrrrr eeeeee", "##--## ##--## ##--## ###### ------"),
    # and what stands on the bonnet is not our vehicle; beside it there is a column that can't be reached
    ("rrrrrr rrrrrr rrrrrr rXrrrr eeeeee", "--#### --#### --#### --#### ------"),
])
def test_the_vehicle_itself_as_the_network_sees_it(picture, expected):
    farther = 3  # rows more of the same above: at most 40 % of the height may be the vehicle
    assert run(" ".join(["rrrrrr"] * farther + [picture])) == " ".join([expected.split()[0]] * farther + [expected])


def test_a_bonnet_that_mirrors_the_road_ends_no_column():
    farther = ["rrrrrr"] * 17
    assert (run(" ".join([*farther, "eerree", "rrrrrr", "eeeeee"]))
            == " ".join([*["######"] * 17, "--##--", "--##--", "------"]))


def test_a_network_that_calls_everything_its_own_vehicle_opens_nothing():
    assert run(" ".join(["rrrr"] * 4 + ["eeee"] * 6)) == " ".join(["----"] * 10)


def road_with(patch, foot, left, *, confidence=100):
    """200x200 pixels, road from row 40 down; a patch of obstacle (rows, columns) with its foot above row `foot`."""
    classes = np.ones((200, 200), np.uint8)
    classes[:40] = 0
    sure = np.full((200, 200), 255, np.uint8)
    part = slice(foot - patch[0], foot), slice(left, left + patch[1])
    classes[part], sure[part] = 3, confidence
    return classes, sure


def area(classes, confidence, speck, scale=None):
    rule = DrivableRule(0.5, 0.5, 0.2, speck)
    return drivable_area(TABLE.group_lut[classes], classes, confidence, TABLE, rule, scale=scale) > 0


@pytest.mark.parametrize(("patch", "foot", "confidence", "speck"), [
    ((7, 7), 190, 100, True),  # (190 - 40) / 2 m = 75 pixels a metre: 0.1 m is 7.5 pixels
    ((8, 7), 190, 100, False),
    ((7, 8), 190, 100, False),
    ((4, 4), 190, 100, True),
    ((4, 4), 190, 255, False),  # the network is sure of it
    ((3, 3), 190, 255, True),
    ((7, 7), 120, 100, False),  # farther away it is larger
    ((4, 3), 120, 100, False),
    ((3, 3), 120, 100, True),
])
def test_a_first_contact_is_something_by_its_size_on_the_ground(patch, foot, confidence, speck):
    classes, sure = road_with(patch, foot, 90, confidence=confidence)
    mask = area(classes, sure, 0.1)
    part = slice(foot - patch[0], foot), slice(90, 90 + patch[1])
    assert not mask[part].any(), "the patch itself is never drivable"
    assert mask[40:foot - patch[0], 90:90 + patch[1]].all() == speck
    assert mask[40:foot - patch[0], 90:90 + patch[1]].any() == speck
    assert not area(classes, sure, 0)[40:foot - patch[0], 90:90 + patch[1]].any(), "without the rule it ends the road"


def test_metres_come_from_the_camera_where_it_is_known():
    classes, sure = road_with((7, 7), 190, 90)
    assert not area(classes, sure, 0.1, np.full(200, 60.0))[100, 92]
    assert area(classes, sure, 0.1, np.full(200, 75.0))[100, 92]
    with pytest.raises(ValueError, match="scale"):
        area(classes, sure, 0.1, np.full(3, 60.0))


def test_what_is_only_partly_seen_is_no_speck():
    """At the side or the lower edge of the image, or joined to what stands above the ground."""
    classes, sure = road_with((5, 5), 190, 0)
    assert not area(classes, sure, 0.1)[100, :5].any()
    classes, sure = road_with((150, 3), 190, 90)
    assert not area(classes, sure, 0.1)[:, 91][:189].any()
    classes, sure = road_with((5, 5), 200, 90)
    assert not area(classes, sure, 0.1)[:195, 90:95].any() and area(classes, sure, 0.1)[100, 80]


def test_many_small_patches_that_touch_are_one():
    classes, sure = road_with((5, 5), 180, 90)
    classes[180:185, 95:100] = 3  # by a corner
    assert not area(classes, sure, 0.1)[100, 90:100].any()
