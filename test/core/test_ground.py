import numpy as np
import pytest

from drive_seg.core.camera import Camera
from drive_seg.core.ground import BLOCKED, DISTRUSTED, FREE, PAVEMENT, UNSEEN, CameraPose, GroundError, GroundView

K = np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]])
CAMERA = Camera((480, 640), K, [])


def test_a_level_camera_measures_by_similar_triangles():
    x, y = GroundView(CAMERA, CameraPose.mounted(1.5)).ground_points(np.array([[319.5, 329.5], [439.5, 329.5]]))
    assert x == pytest.approx([10.0, 10.0])  # 1.5 * 600 / 90
    assert y == pytest.approx([0.0, -2.0])  # right of the centre is negative y


@pytest.mark.parametrize("pose, pixel, expected", [
    (CameraPose.mounted(2.0, pitch=np.radians(45)), (319.5, 239.5), (2.0, 0.0)),  # down is positive pitch
    (CameraPose.mounted(2.0, pitch=np.radians(45), yaw=np.radians(90)), (319.5, 239.5), (0.0, 2.0)),  # yaw to the left
    (CameraPose.mounted(1.0, pitch=np.radians(45), x=1.2, y=-0.3), (319.5, 239.5), (2.2, -0.3)),
    (CameraPose.mounted(1.0, roll=np.radians(90)), (919.5, 239.5), (1.0, 0.0)),  # rolled right: image right is down
])
def test_the_pose_follows_rep_103(pose, pixel, expected):
    rays = CAMERA.rays(np.array([pixel], float))[0] @ pose.rotation.T
    distance = pose.translation[2] / -rays[2]
    assert pose.translation[:2] + distance * rays[:2] == pytest.approx(expected)


def test_a_quaternion_gives_the_same_pose():
    # base_link <- optical, looking forward: the quaternion that every camera URDF has.
    pose = CameraPose.from_quaternion((0.1, 0.2, 1.5), (-0.5, 0.5, -0.5, 0.5))
    assert pose.close_to(CameraPose.mounted(1.5, x=0.1, y=0.2))
    assert not pose.close_to(CameraPose.mounted(1.5, pitch=0.01, x=0.1, y=0.2))
    with pytest.raises(GroundError, match="no rotation"):
        CameraPose.from_quaternion((0, 0, 1), (0, 0, 0, 0))


def test_at_and_above_the_horizon_there_is_no_ground():
    x, _ = GroundView(CAMERA, CameraPose.mounted(1.5)).ground_points()
    assert np.isnan(x[:240]).all() and np.isfinite(x[240:]).all()


@pytest.mark.parametrize("pose, words", [
    (CameraPose.mounted(1.5, pitch=np.radians(-40)), "sees no ground within 60 m: .* 40 degrees up"),
    (CameraPose.mounted(-0.2), "height must be positive"),
    (CameraPose.mounted(0.0), "height must be positive"),
    (CameraPose.mounted(np.nan), "not finite"),
])
def test_a_pose_that_sees_no_ground_is_an_error(pose, words):
    with pytest.raises(GroundError, match=words):
        GroundView(CAMERA, pose)


def test_measuring_ends_where_a_pixel_gets_too_long():
    view = GroundView(CAMERA, CameraPose.mounted(1.5), max_pixel_length=0.3)
    # A pixel covers range^2 / (height * focal length): 0.3 m at sqrt(0.3 * 1.5 * 600) = 16.4 m.
    assert view.sure_range == pytest.approx(16.4, abs=0.4)
    with pytest.raises(GroundError, match="more than 0.001 m"):
        GroundView(CAMERA, CameraPose.mounted(1.5), max_pixel_length=0.001)


def test_a_line_of_sight_ends_at_its_first_contact():
    view = GroundView(CAMERA, CameraPose.mounted(1.5))
    labels = np.zeros((480, 640), np.uint8)
    labels[240:] = 1
    labels[300:330, :400] = 3  # the foot, row 329, is 10 m away; road is seen again above row 300
    labels[360:, 500:] = 2
    labels[280:330, 400:450] = 255
    sight = view.see(labels, (labels == 1).astype(np.uint8))

    def state(x, y):
        line, step = view.locate(np.array([x]), np.array([y]))
        return sight.state[line[0], int(np.rint(step[0]))]

    assert state(8.0, 0.0) == FREE
    assert state(20.0, 0.0) == UNSEEN  # road pixels behind the obstacle tell nothing
    assert state(6.0, -2.5) == PAVEMENT
    ends = {int(sight.state[i, k]) for i, k in enumerate(sight.end) if k < sight.state.shape[1]}
    assert {BLOCKED, DISTRUSTED} <= ends


def test_the_vehicle_itself_is_not_seen_and_ends_nothing():
    ego = np.zeros((480, 640), bool)
    ego[400:] = True
    labels = np.full((480, 640), 1, np.uint8)
    labels[400:] = 3
    view = GroundView(CAMERA, CameraPose.mounted(1.5), ego=ego)
    sight = view.see(labels, np.full_like(labels, 255))
    assert (sight.state != BLOCKED).all() and (sight.state == FREE).any()


def test_labels_of_another_size_are_refused():
    view = GroundView(CAMERA, CameraPose.mounted(1.5))
    with pytest.raises(GroundError, match="240"):
        view.see(np.zeros((240, 320), np.uint8), np.zeros((240, 320), np.uint8))


def test_tables_are_bounded_by_what_a_camera_can_be():
    for pitch in (0.05, 0.5, np.pi / 2):
        camera = Camera((54, 96), np.array([[80.0, 0, 47.5], [0, 80, 26.5], [0, 0, 1]]), np.zeros(0))
        lines, steps = GroundView(camera, CameraPose.mounted(1.5, pitch), max_pixel_length=5.0).shape
        assert lines * steps <= 16 * 54 * 96, "as many as refuse a CameraInfo"


def test_the_scale_of_a_row_is_that_of_the_pinhole():
    camera = Camera((360, 640), np.array([[500.0, 0, 319.5], [0, 500, 179.5], [0, 0, 1]]), np.zeros(0))
    scale = GroundView(camera, CameraPose.mounted(1.5)).scale
    rows = np.arange(200, 360)
    np.testing.assert_allclose(scale[rows], (rows - 179.5) / 1.5, rtol=1e-3)  # f / depth, depth = f h / (v - cy)
    assert not scale[:179].any()
