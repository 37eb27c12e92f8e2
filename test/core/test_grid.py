"""Exact geometry: rendered scenes with known metric answers, through grid, scan and points."""

import functools

import numpy as np
import pytest

from drive_seg.core.camera import Camera
from drive_seg.core.grid import Grid, GridShape
from drive_seg.core.ground import CameraPose, GroundView
from drive_seg.core.points import Points
from drive_seg.core.scan import Scan

K = np.array([[900.0, 0, 383.5], [0, 900.0, 215.5], [0, 0, 1]])
FISHEYE_K = np.array([[700.0, 0, 383.5], [0, 700.0, 215.5], [0, 0, 1]])
SIZE = (432, 768)
CELL = 0.1
CASES = {  # lens model, K, D, height, pitch, roll, yaw (degrees), x, y
    "level": ("plumb_bob", K, [], 1.7, 0, 0, 0, 0, 0),
    "pitched": ("plumb_bob", K, [], 1.7, 6, 0, 0, 1.2, 0),
    "rolled": ("plumb_bob", K, [], 1.7, 5, 7, 0, 1.2, 0.3),
    "turned": ("plumb_bob", K, [], 1.7, 4, -3, 12, 0.5, -0.4),
    "distorted": ("plumb_bob", K, [-0.28, 0.08, 0.001, -0.001, -0.01], 1.7, 5, 2, 0, 1.2, 0),
    "rational": ("rational_polynomial", K, [0.4, -0.1, 0.0005, -0.0003, 0.01, 0.7, -0.05, 0.02], 1.7, 5, 0, 0, 1, 0),
    "fisheye": ("equidistant", FISHEYE_K, [-0.01, 0.004, -0.002, 0.0003], 1.9, 10, 3, 0, 0.8, 0),
}


@functools.cache
def view_of(case):
    model, K_, D, height, pitch, roll, yaw, x, y = CASES[case]
    pose = CameraPose.mounted(height, *np.radians([pitch, roll, yaw]), x, y)
    return GroundView(Camera(SIZE, K_, D, model), pose, max_pixel_length=0.2)


def look(case, scene, render):
    view = view_of(case)
    D = CASES[case][2] or [0.0] * 5
    labels, _ = render(scene, SIZE, view.camera.K, D, view.camera.model, view.pose.rotation, view.pose.translation)
    return view, labels, view.see(labels, np.where(labels == 1, 255, 0).astype(np.uint8))


def centres(shape):
    rows, columns = shape.cells
    return np.meshgrid(shape.back + (np.arange(columns) + 0.5) * CELL, shape.right + (np.arange(rows) + 0.5) * CELL)


@pytest.mark.parametrize("case", CASES)
def test_flat_road_is_free_and_nothing_else(case, make_scene, render_scene):
    view, _, sight = look(case, make_scene(), render_scene)
    shape = GridShape(CELL, 0, 30, -12, 12)
    cells = Grid(view, shape).fill(sight)
    assert not (cells == 100).any()
    free = cells == 0
    assert free.sum() > 3000
    x, y = centres(shape)
    points = np.stack([x[free], y[free], np.zeros(free.sum())], 1)
    pixels = view.camera.project((points - view.pose.translation) @ view.pose.rotation)
    assert (pixels > -2).all() and (pixels < np.array(SIZE[::-1]) + 1).all()  # free cells are in the picture
    assert (np.hypot(x - view.foot[0], y - view.foot[1])[free] < view.ranges[-1]).all()


@pytest.mark.parametrize("case", CASES)
def test_a_kerb_lies_within_one_cell(case, make_scene, render_scene):
    view, _, sight = look(case, make_scene(kerb=2.1), render_scene)
    shape = GridShape(CELL, 0, 14, -6, 6)
    cells = Grid(view, shape).fill(sight)
    _, y = centres(shape)
    near = np.abs(y - 2.1) <= CELL
    assert (cells[(y < 2.1) & ~near] != 100).all()
    assert (cells[(y > 2.1) & ~near] != 0).all()
    assert (cells[y > 2.1] == 100).sum() > 100
    assert (Grid(view, shape, pavement_is_obstacle=False).fill(sight) != 100).all()


@pytest.mark.parametrize("case", CASES)
def test_a_box_at_12_m_hides_what_is_behind_it(case, make_scene, render_scene):
    box = (12.0, 14.0, -1.0, 1.0, 1.2, 3)
    view, _, sight = look(case, make_scene(boxes=[box]), render_scene)
    shape = GridShape(CELL, 0, 30, -12, 12)
    cells = Grid(view, shape).fill(sight)
    x, y = centres(shape)
    occupied = cells == 100
    # Every occupied cell is on the box's visible faces, and its whole front is found.
    on_box = (x > 12 - 1.5 * CELL) & (x < 14 + CELL) & (np.abs(y) < 1 + 1.5 * CELL)
    assert on_box[occupied].all()
    front = occupied & (np.abs(x - 12) <= 1.5 * CELL)
    assert front.any(axis=1)[np.abs(y[:, 0]) < 1 - CELL].all()
    # Nothing smeared: what the box hides is unseen, whatever its top shows.
    ox, oy = view.foot
    hidden = (x > 12.3) & (np.abs(oy + (y - oy) * (12 - ox) / (x - ox)) < 1 - CELL)
    assert (cells[hidden & ~on_box] == -1).all()


@pytest.mark.parametrize("case", CASES)
def test_the_scan_measures_the_box_and_tells_free_from_unknown(case, make_scene, render_scene):
    boxes = [(12.0, 14.0, -1.0, 1.0, 1.2, 3), (6.0, 6.5, 1.4, 2.0, 0.4, 255)]
    view, _, sight = look(case, make_scene(boxes=boxes), render_scene)
    scan = Scan(view)
    ranges = scan.ranges(sight)
    bearing = scan.angle_min + scan.increment * np.arange(len(ranges))
    assert bearing[-1] == pytest.approx(scan.angle_max)
    at_box = np.abs(12 * np.tan(bearing)) < 0.9
    assert ranges[at_box] == pytest.approx(12 / np.cos(bearing[at_box]), abs=CELL)
    unknown = np.arctan2(1.7, 6)
    assert np.isnan(ranges[np.argmin(np.abs(bearing - unknown))])
    clear = np.argmin(np.abs(bearing - np.arctan2(-2.0, 12)))
    assert np.isposinf(ranges[clear])
    assert 0 < scan.range_min < 12 < scan.range_max
    assert (ranges[np.isfinite(ranges)] <= scan.range_max).all()


@pytest.mark.parametrize("case", CASES)
def test_points_lie_on_their_pixels_ground_and_only_there(case, make_scene, render_scene):
    box = (12.0, 14.0, -1.0, 1.0, 1.2, 3)
    view, labels, sight = look(case, make_scene(boxes=[box]), render_scene)
    points = Points(view)
    before = np.ones_like(labels)  # another frame, of which nothing may stay
    points.cloud(before, view.see(before, before))
    cloud = points.cloud(labels, sight)
    assert cloud.shape == (*SIZE, 3) and cloud.dtype == np.float32
    shown = np.isfinite(cloud[..., 0])
    assert np.array_equal(shown, np.isfinite(cloud).all(axis=2))
    assert (cloud[shown][:, 2] == 0).all()
    pixels = view.camera.project((cloud[shown] - view.pose.translation) @ view.pose.rotation)
    v, u = np.nonzero(shown)
    assert np.abs(pixels - np.stack([u, v], 1)).max() < 0.1
    # Obstacle pixels appear at their foot only, never smeared behind.
    feet = cloud[shown & (labels == 3)]
    assert len(feet) > 20
    length = 12.0 ** 2 / (view.height * view.camera.K[1, 1])  # of one pixel there
    assert np.abs(feet[:, 1]).max() < 1.2 and feet[:, 0].min() > 12 - 2 * length and feet[:, 0].max() < 14.1 + length
    assert (shown & (labels == 1)).sum() > 10000
    assert not shown[labels == 0].any() or cloud[shown & (labels == 0)][:, 0].min() > view.sure_range * 0.9


def test_pavement_ends_the_scan_as_configured(make_scene, render_scene):
    view, _, sight = look("pitched", make_scene(kerb=2.1), render_scene)
    bearing = np.arctan2(2.1, 8)
    for obstacle, expected in ((True, 2.1 / np.sin(bearing)), (False, np.inf)):
        scan = Scan(view, increment=np.radians(0.25), pavement_is_obstacle=obstacle)
        ray = round((bearing - scan.angle_min) / scan.increment)
        exact = 2.1 / np.sin(scan.angle_min + ray * scan.increment) if obstacle else expected
        assert scan.ranges(sight)[ray] == pytest.approx(exact, abs=2 * CELL)


def test_road_that_is_not_called_drivable_is_not_free(make_scene, render_scene):
    view, labels, _ = look("level", make_scene(boxes=[(12.0, 14.0, -1.0, 1.0, 1.2, 3)]), render_scene)
    sight = view.see(labels, np.zeros_like(labels))
    cells = Grid(view, GridShape(CELL)).fill(sight)
    assert not (cells == 0).any() and (cells == 100).any()
    scan = Scan(view)
    ranges = scan.ranges(sight)
    assert not np.isposinf(ranges).any()
    middle = round(-scan.angle_min / scan.increment)
    assert ranges[middle] < 8  # free space ends where it begins, in front of the box
    assert np.isnan(ranges[0])  # nothing is known of bearings without a contact


@pytest.mark.parametrize("change, words", [
    ({"front": 0.0}, "empty"), ({"resolution": 0.0}, "empty"), ({"resolution": 0.001}, "coarser"),
])
def test_an_impossible_grid_is_an_error(change, words):
    with pytest.raises((ValueError, ZeroDivisionError), match=words):
        GridShape(**change)


@pytest.mark.parametrize("mount", [{"x": 1.5}, {"x": 2.5, "y": 0.5, "yaw": np.radians(20)}, {}])
@pytest.mark.parametrize("bonnet", [False, True])
def test_a_ray_tells_nothing_where_a_part_of_it_is_not_seen(mount, bonnet):
    """From behind the camera, rays enter its picture from the side, some of them far out; others are hidden by an ego
    mask for a long way, or cross one."""
    camera = Camera((480, 640), np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]]), [])
    ego = np.zeros(camera.size, bool)
    if bonnet:
        ego[420:, 100:540] = True
        ego[300:, 330:400] = True  # a mast on it
    view = GroundView(camera, CameraPose.mounted(1.5, **mount), ego=ego)
    road = np.ones(camera.size, np.uint8)
    scan = Scan(view)
    ranges = scan.ranges(view.see(road, np.full_like(road, 255)))
    bearing = scan.angle_min + scan.increment * np.arange(len(ranges))
    free = np.isposinf(ranges)
    assert free.sum() > 40, "the others still measure"
    assert bonnet == np.isnan(ranges[np.abs(bearing - (np.radians(20) if "yaw" in mount else 0)) < 0.5]).any()
    dead_zone = (1.0 + bonnet) * 1.2 * scan.range_min
    for angle in bearing[free]:
        reach = np.arange(dead_zone, 0.98 * scan.range_max, 0.1)
        ground = np.stack([reach * np.cos(angle), reach * np.sin(angle), np.zeros_like(reach)], 1)
        u, v = camera.project((ground - view.pose.translation) @ view.pose.rotation).T
        assert ((u > -1.5) & (u < 640.5) & (v > 0) & (v < 480.5)).all(), np.degrees(angle)
        at = np.clip(np.rint(v), 0, 479).astype(int), np.clip(np.rint(u), 0, 639).astype(int)
        assert not (ego[at] & ego[at[0], np.clip(at[1] + 2, 0, 639)] & ego[at[0], np.clip(at[1] - 2, 0, 639)]).any()


@pytest.mark.parametrize("hfov, height, mount, least", [
    (90, 1.2, {"x": 1.5, "y": 0.9, "yaw": np.pi / 2}, 90),  # a side camera, base_link at the rear axle
    (90, 1.2, {"x": 1.5, "yaw": np.pi / 3}, 100),
    (90, 0.3, {"x": 0.4, "y": 0.4}, 100),  # a low, wide robot
    (140, 1.2, {}, 270),
], ids=["side", "turned", "low", "wide"])
def test_base_link_may_lie_beside_and_behind_the_camera(hfov, height, mount, least):
    f = 320 / np.tan(np.radians(hfov / 2))
    camera = Camera((480, 640), np.array([[f, 0, 319.5], [0, f, 239.5], [0, 0, 1]]), [])
    view = GroundView(camera, CameraPose.mounted(height, **mount))
    road = np.ones(camera.size, np.uint8)
    assert np.isposinf(Scan(view).ranges(view.see(road, np.full_like(road, 255)))).sum() >= least


def test_a_scan_of_which_every_ray_is_cut_off_knows_nothing():
    camera = Camera((480, 640), np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]]), [])
    view = GroundView(camera, CameraPose.mounted(1.2, y=12.0))  # looks past the origin, far to its side
    road = np.ones(camera.size, np.uint8)
    ranges = Scan(view).ranges(view.see(road, np.full_like(road, 255)))
    assert len(ranges) and np.isnan(ranges).all()
