"""Four cameras around a vehicle in scenes with known metric answers: one grid, one scan, and poses that are off."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from drive_seg.core.around import STILL, Around, Motion, moved
from drive_seg.core.camera import Camera
from drive_seg.core.grid import DRIVABLE, NOT_KNOWN, OCCUPIED, Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundError, GroundView
from drive_seg.core.health.overlap import OverlapHealth
from drive_seg.core.health.status import Level
from drive_seg.outputs.joint import JointGround, Round, Seen

SHAPE = GridShape(0.1, -14.0, 14.0, -14.0, 14.0)
CELL = SHAPE.resolution
FLAT = np.array([[260.0, 0, 319.5], [0, 260, 199.5], [0, 0, 1]])  # 102 degrees across
WIDE = np.array([[224.0, 0, 479.5], [0, 224, 299.5], [0, 0, 1]])  # 130 degrees
ROUND = np.array([[216.0, 0, 319.5], [0, 216, 239.5], [0, 0, 1]])  # 165 degrees: OpenCV renders none of 180

# name: size, K, D, lens, pose. base_link lies in the middle between the axles of a vehicle of 4 m x 1.8 m.
RIG = {
    "front": ((400, 640), FLAT, (-0.05, 0.01, 0, 0, 0), "plumb_bob", CameraPose.mounted(1.5, 0.45, x=2.0)),
    "left": ((480, 640), ROUND, (0.02, -0.004, 0, 0), "equidistant",
             CameraPose.mounted(1.2, 0.6, yaw=np.pi / 2, y=0.9)),
    "rear": ((400, 640), FLAT, (), "plumb_bob", CameraPose.mounted(1.4, 0.45, yaw=np.pi, x=-2.0)),
    "right": ((600, 960), WIDE, (), "plumb_bob", CameraPose.mounted(1.2, 0.5, yaw=-np.pi / 2, y=-0.9)),
}
WALLS = [(6, 6.4, -2, 2, 1.5, 3), (-6.4, -6, -2, 2, 1.5, 3), (-2, 2, 4.5, 4.9, 1.5, 3), (-2, 2, -4.9, -4.5, 1.5, 3)]
CORNERS = [(4.5, 5.5, 4, 5, 0.8, 3), (4.5, 5.5, -5, -4, 0.8, 3), (-5.5, -4.5, 4, 5, 0.8, 3),
           (-5.5, -4.5, -5, -4, 0.8, 3)]


@pytest.fixture(scope="module")
def views():
    return {name: GroundView(Camera(size, K, D, lens), pose, max_pixel_length=0.15, max_range=10.0)
            for name, (size, K, D, lens, pose) in RIG.items()}


@pytest.fixture(scope="module")
def grids(views):
    return {name: Grid(view, SHAPE) for name, view in views.items()}


@pytest.fixture(scope="module")
def around(views, grids):
    return Around(views, grids)


@pytest.fixture(scope="module")
def seen():
    """What was rendered before."""
    return {}


@pytest.fixture
def look(views, around, seen, make_scene, render_scene):
    """What the cameras show of a scene; `turned`: poses that differ from those that are known. at: by camera, where the
    vehicle is when it takes its picture, x, y and yaw in the world."""
    def look(boxes=(), kerb=np.inf, turned=None, at=None):
        return {name: one(name, tuple(boxes), kerb, (turned or {}).get(name), (at or {}).get(name, (0, 0, 0)))
                for name in RIG}

    def one(name, boxes, kerb, turned, place):
        key = name, boxes, kerb, place
        if turned is None and key in seen:
            return seen[key]
        size, K, D, lens, pose = RIG[name]
        pose = turned or pose
        x, y, yaw = place
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        labels, _ = render_scene(make_scene(kerb, list(boxes)), size, K, D, lens, turn @ pose.rotation,
                                 turn @ pose.translation + (x, y, 0))
        out = around.look(name, views[name].see(labels, (labels == 1).astype(np.uint8)))
        if turned is None:
            seen[key] = out
        return out
    return look


def centres():
    rows, columns = SHAPE.cells
    return np.meshgrid(SHAPE.back + (np.arange(columns) + 0.5) * CELL, SHAPE.right + (np.arange(rows) + 0.5) * CELL)


def outside(boxes, margin):
    """Cells whose centres are at least `margin` metres from all boxes."""
    x, y = centres()
    out = np.ones(x.shape, bool)
    for x0, x1, y0, y1, _, _ in boxes:
        out &= (x < x0 - margin) | (x > x1 + margin) | (y < y0 - margin) | (y > y1 + margin)
    return out


def at(grid, x, y):
    return grid[int((y - SHAPE.right) / CELL), int((x - SHAPE.back) / CELL)]


def hits(around, boxes, place=(0.0, 0.0, 0.0)):
    """(rays,) distance from base_link's origin to the first box, inf where there is none. place: the vehicle's x, y and
    yaw in the world."""
    angles = around.angle_min + around.increment * np.arange(around.rays) + place[2]
    rays = np.stack([np.cos(angles), np.sin(angles)], 1)
    out = np.full(len(rays), np.inf)
    for x0, x1, y0, y1, _, _ in boxes:
        with np.errstate(divide="ignore"):
            low = (np.array([x0, y0]) - place[:2]) / rays
            high = (np.array([x1, y1]) - place[:2]) / rays
        enter, leave = np.minimum(low, high).max(1), np.maximum(low, high).min(1)
        out = np.where((enter < leave) & (enter > 0), np.minimum(out, enter), out)
    return out


def test_walls_all_around_are_where_they_are_within_a_cell(around, look):
    boxes = [*WALLS, *CORNERS]
    looks = look(boxes)
    grid = around.grid(looks)
    assert not (grid[outside(boxes, 1.5 * CELL)] == OCCUPIED).any(), "no false wall, seams included"
    x, y = centres()
    for along in np.arange(-1.9, 1.9, CELL):  # every cell of the faces that look at the vehicle
        for across, place, face in ((x, y, 6), (x, y, -6), (y, x, 4.5), (y, x, -4.5)):
            near = (abs(across - face) < 1.5 * CELL) & (abs(place - along) < CELL)
            assert (grid[near] == OCCUPIED).any(), (face, along)
    for x, y in ((5.5, 0), (-5.5, 0), (0, 4), (0, -4), (4, 3.5), (4, -3.5), (-4, 3.5), (-4, -3.5)):
        assert at(grid, x, y) == DRIVABLE, (x, y)


def test_the_scan_goes_all_the_way_round_and_is_right_within_a_cell(around, look):
    boxes = [*WALLS, *CORNERS]
    ranges, far = around.scan(look(boxes))
    assert len(ranges) == around.rays == 720 and around.angle_min == -np.pi
    truth = hits(around, boxes)
    hit = np.isfinite(ranges)
    assert hit.mean() > 0.4
    beside = np.minimum(np.minimum(truth, np.roll(truth, 1)), np.roll(truth, -1))
    beyond = np.maximum(np.maximum(truth, np.roll(truth, 1)), np.roll(truth, -1))
    # At a silhouette a ray may end at what its neighbour meets: half a degree is less than a cell.
    assert (ranges[hit] > beside[hit] - CELL).all() and (ranges[hit] < beyond[hit] + CELL).all()
    assert not (hit & np.isinf(beside)).any(), "no false walls"
    assert not (np.isinf(ranges) & (beyond < far - CELL)).any(), "nowhere free where a box stands"


def test_open_ground_is_free_all_around_with_no_false_walls_at_the_seams(around, look):
    looks = look()
    grid = around.grid(looks)
    ranges, far = around.scan(looks)
    assert not (grid == OCCUPIED).any() and (grid == DRIVABLE).mean() > 0.25
    assert not np.isfinite(ranges).any() and far == around.range_max > 4
    assert np.isinf(ranges[340:]).all(), "to the front, to the left and to the rear on the fisheye's side"
    beside = round((np.radians(-33.5) + np.pi) / around.increment)
    assert np.isnan(ranges[beside]), "nobody sees the ground at the right front corner of the vehicle"


def test_a_kerb_along_the_vehicle_is_one_line_through_all_cameras(around, look):
    grid = around.grid(look(kerb=2.5))
    x, y = centres()
    assert (grid[(y > 2.5 + CELL) & (grid != NOT_KNOWN)] == OCCUPIED).all()
    assert (grid[(y < 2.5 - CELL) & (grid != NOT_KNOWN)] == DRIVABLE).all()
    beside = (np.abs(x) < 6) & (y > 2.5 + CELL) & (y < 2.9)
    assert (grid[beside] == OCCUPIED).mean() > 0.95


def test_unknown_never_overrides_seen_and_the_less_free_wins(around, look, views):
    looks = look(WALLS)
    both = (looks["front"].grid != NOT_KNOWN) & (looks["left"].grid != NOT_KNOWN)
    assert both.sum() > 500, "they overlap"
    grid = around.grid(looks)
    for one in looks.values():
        assert (grid >= one.grid).all()
    blind = np.full(RIG["front"][0], 255, np.uint8)
    looks["front"] = around.look("front", views["front"].see(blind, np.zeros_like(blind)))
    rest = {name: one for name, one in looks.items() if name != "front"}
    assert np.array_equal(around.grid(looks), around.grid(rest))
    assert np.array_equal(around.scan(looks)[0], around.scan(rest)[0], equal_nan=True)


def test_a_camera_that_is_missing_leaves_its_sector_unknown_and_nothing_else(around, look):
    looks = look(WALLS)
    whole, (ranges, _) = around.grid(looks), around.scan(looks)
    del looks["rear"]
    grid, (fewer, _) = around.grid(looks), around.scan(looks)
    assert at(whole, -5.5, -1.5) == DRIVABLE and at(grid, -5.5, -1.5) == NOT_KNOWN
    changed = grid != whole
    assert (grid[changed & outside(WALLS, 2 * CELL)] == NOT_KNOWN).all() and (centres()[0][changed] < -2).all()
    middle = around.rays // 2
    assert np.isfinite(ranges[:15]).all() and np.isnan(fewer[:15]).all()
    assert np.array_equal(fewer[middle - 80:middle + 80], ranges[middle - 80:middle + 80], equal_nan=True)


def test_what_the_vehicle_moved_between_the_pictures_is_compensated(around, look):
    """It drives half a metre and turns by 4 degrees while the cameras take their pictures, one after the other."""
    places = {"rear": (0, 0, 0), "left": (0.2, 0, np.radians(1.5)), "right": (0.35, 0.01, np.radians(3)),
              "front": (0.5, 0.02, np.radians(4))}

    def pose(x, y, yaw):
        return CameraPose(np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]),
                          np.array([x, y, 0.0]))

    here = pose(*places["front"])
    # The wall behind is nearer than in WALLS: from where the vehicle is now it must lie within the scan's range.
    boxes = [WALLS[0], (-5.4, -5.0, -2, 2, 1.5, 3), *WALLS[2:], *CORNERS]
    taken = look(boxes, at=places)
    looks = {name: replace(one, motion=Motion.between(pose(*places[name]), here)) for name, one in taken.items()}
    assert looks["front"].motion == STILL
    grid = around.grid(looks)
    x, y = centres()
    c, s = np.cos(places["front"][2]), np.sin(places["front"][2])
    wx, wy = c * x - s * y + places["front"][0], s * x + c * y + places["front"][1]
    free = np.ones(x.shape, bool)
    for x0, x1, y0, y1, _, _ in boxes:
        free &= (wx < x0 - 0.25) | (wx > x1 + 0.25) | (wy < y0 - 0.25) | (wy > y1 + 0.25)
    assert (grid[free] == OCCUPIED).sum() <= 1, "a pixel of the front camera at the silhouette of a box"
    assert (around.grid(taken)[free] == OCCUPIED).sum() > 20, "without it walls are at false places"
    ranges, far = around.scan(looks)
    assert far == pytest.approx(around.range_max - np.hypot(0.5, 0.02), abs=0.02)
    truth, hit = hits(around, boxes, places["front"]), np.isfinite(ranges)
    around_it = [np.roll(truth, shift) for shift in (-1, 0, 1)]
    nearest, farthest = np.min(around_it, 0), np.max(around_it, 0)
    false = hit & np.isinf(nearest)
    assert hit.sum() > 250 and false.sum() <= 1, "as in the grid"
    sure = hit & ~false
    assert (ranges[sure] > nearest[sure] - CELL).all() and (ranges[sure] < farthest[sure] + CELL).all()
    assert not (np.isinf(ranges) & (farthest < far - CELL)).any(), "nowhere free where a box stands"
    assert np.abs(ranges[:3] - 5.5).max() < CELL, "the wall is 5 m behind where the rear camera looked, 0.5 m ago"
    assert (around.scan(taken)[0][:3] < 5.2).all(), "without compensation it is at a false place"


def test_a_grid_is_moved_within_half_a_cell_and_loses_no_contact():
    shape = GridShape(0.1, -5, 5, -5, 5)
    grid = np.full(shape.cells, DRIVABLE, np.int8)
    grid[::7, ::9] = OCCUPIED
    motion = Motion(0.33, -0.21, 0.3)
    out = moved(grid, shape, motion)
    rows, columns = np.nonzero(grid == OCCUPIED)
    x, y = motion.forward(-5 + (columns + 0.5) * 0.1, -5 + (rows + 0.5) * 0.1)
    inside = (np.abs(x) < 5) & (np.abs(y) < 5)
    assert (out[((y + 5) / 0.1).astype(int)[inside], ((x + 5) / 0.1).astype(int)[inside]] == OCCUPIED).all()
    assert moved(grid, shape, STILL) is grid
    back = Motion.between(CameraPose(np.eye(3), np.zeros(3)), CameraPose(np.eye(3), np.array([1.0, 2, 0])))
    assert (back.x, back.y, back.yaw) == (-1, -2, 0)


def turn(name, pitch=0.0, yaw=0.0, roll=0.0):
    poses = {"front": (1.5, 0.45, 0, 0, 2.0, 0), "left": (1.2, 0.6, 0, np.pi / 2, 0, 0.9),
             "rear": (1.4, 0.45, 0, np.pi, -2.0, 0), "right": (1.2, 0.5, 0, -np.pi / 2, 0, -0.9)}
    height, p, r, y, x, aside = poses[name]
    return {name: CameraPose.mounted(height, p + np.radians(pitch), r + np.radians(roll), y + np.radians(yaw), x,
                                     aside)}


def watch(look, turned=None):
    health = OverlapHealth(SHAPE)
    for shift in np.linspace(-1.2, 0.6, 6):  # a drive past what stands there
        boxes = tuple((x0 + shift, x1 + shift, y0, y1, h, label) for x0, x1, y0, y1, h, label in CORNERS)
        grids = {name: one.grid for name, one in look(boxes, turned=turned).items()}
        health.observe(grids, {name: pose for name, (*_, pose) in RIG.items()})
    return health


def test_right_poses_agree(look):
    health = watch(look)
    assert health.status().level == Level.OK and set(health.turns) == set(RIG)
    assert max(np.degrees(np.linalg.norm(turn)) for turn in health.turns.values()) < 0.5


@pytest.mark.parametrize("name", RIG)
@pytest.mark.parametrize("error", [{"pitch": 2.0}, {"pitch": -2.0}, {"yaw": 2.0}, {"roll": 2.0}], ids=str)
def test_a_pose_that_is_off_by_2_degrees_is_seen(look, name, error):
    status = watch(look, turn(name, **error)).status()
    assert status.level == Level.WARN and f"the pose of {name} is off" in status.reason


@pytest.mark.parametrize(("apart", "motion", "compared"), [
    (0, None, True), (30, None, False), (30, STILL, True), (30, Motion(0.5, 0.0, 0.0), False)])
def test_poses_are_judged_by_frames_between_which_nothing_moved(apart, motion, compared, look, views, grids):
    """apart: milliseconds by which the left camera's picture is older. motion: of the vehicle, None: nobody knows."""
    mount = SimpleNamespace(base_frame="base_link", shape=SHAPE, ground_z=0.0, scan_increment=np.radians(1),
                            pavement_is_obstacle=True)
    ground = JointGround(Mock(), mount, lambda before, after: motion)
    mounted = {name: SimpleNamespace(view=views[name], grid=grids[name]) for name in RIG}
    for shift in (0.0, 0.3, 0.6):
        boxes = tuple((x0 - shift, x1 - shift, y0, y1, h, label) for x0, x1, y0, y1, h, label in CORNERS)
        frames = {name: Seen(name, 10**9 - (apart * 10**6 if name == "left" else 0), mounted[name], one.sight)
                  for name, one in look(boxes).items()}
        ground.make(Round(10**9, frames, ()), (), Mock())
    assert ("left" in ground._overlap.turns) == compared
    assert {"front", "right"} <= set(ground._overlap.turns)
    assert ground.statuses()[0].values["motion"] == ("not known" if apart and motion is None else "compensated")


def test_without_views_there_is_nothing():
    with pytest.raises(GroundError, match="no camera sees"):
        Around({}, {})
