import cv2
import numpy as np
import pytest

from drive_seg.core.camera import Camera, CameraError

K = np.array([[600.0, 0, 330], [0, 610.0, 230], [0, 0, 1]])
LENSES = {
    "none": ("plumb_bob", []),
    "plumb_bob": ("plumb_bob", [-0.25, 0.06, 0.001, -0.0007, -0.005]),
    "rational_polynomial": ("rational_polynomial", [0.4, -0.1, 0.0005, -0.0003, 0.01, 0.7, -0.05, 0.02]),
    "equidistant": ("equidistant", [-0.01, 0.004, -0.002, 0.0003]),
}


@pytest.mark.parametrize("lens", LENSES)
def test_projection_agrees_with_opencv(lens):
    model, D = LENSES[lens]
    points = np.random.default_rng(1).uniform([-2, -1.5, 3], [2, 1.5, 20], (500, 3))
    if model == "equidistant":
        expected = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, np.array(D))[0][:, 0]
    else:
        expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(D) if D else None)[0][:, 0]
    assert np.abs(Camera((480, 640), K, D, model).project(points) - expected).max() < 1e-6


@pytest.mark.parametrize("lens", LENSES)
def test_rays_go_back_through_their_pixels(lens):
    camera = Camera((480, 640), K, LENSES[lens][1], LENSES[lens][0])
    rays = camera.rays()
    assert rays.shape == (480, 640, 3)
    v, u = np.mgrid[:480, :640]
    back = camera.project(rays.reshape(-1, 3)).reshape(480, 640, 2)
    assert np.abs(back - np.stack([u, v], -1)).max() < 0.1


def test_a_fisheye_sees_beyond_a_right_angle():
    camera = Camera((800, 800), [[250, 0, 400], [0, 250, 400], [0, 0, 1]], [0, 0, 0, 0], "equidistant")
    ray = camera.rays(np.array([[400 + 250 * np.radians(95), 400]]))[0]
    assert np.degrees(np.arctan2(ray[0], ray[2])) == pytest.approx(95, abs=1e-6)


def test_pixels_that_the_lens_model_never_reaches_have_no_ray():
    # k1 = -0.3 turns back at a radius of sqrt(1 / 0.9): the image's corners lie beyond it.
    camera = Camera((480, 640), [[250.0, 0, 320], [0, 250, 240], [0, 0, 1]], [-0.3, 0, 0, 0, 0])
    corner, centre = camera.rays(np.array([[0.0, 0.0], [320.0, 240.0]]))
    assert np.isnan(corner).all() and centre == pytest.approx([0, 0, 1])
    assert np.isnan(camera.project(np.array([[5.0, 0, 1]]))).all()
    assert np.isnan(camera.project(np.array([[0.0, 0, -1]]))).all()


def test_binning_and_region_of_interest_keep_the_rays():
    full = Camera.from_info(height=960, width=1280, k=K.ravel(), d=LENSES["plumb_bob"][1],
                            distortion_model="plumb_bob")
    part = Camera.from_info(height=960, width=1280, k=K.ravel(), d=LENSES["plumb_bob"][1],
                            distortion_model="plumb_bob", binning=(2, 2), roi=(200, 100, 600, 800))
    assert part.size == (300, 400)
    # The middle of a binned pixel is the corner that its four pixels share.
    assert part.rays(np.array([[10.0, 20.0]])) == pytest.approx(full.rays(np.array([[220.5, 140.5]])))


def test_zero_binning_and_empty_region_mean_the_whole_sensor():
    camera = Camera.from_info(height=480, width=640, k=K.ravel(), binning=(0, 0), roi=(0, 0, 0, 0))
    assert camera.size == (480, 640) and np.array_equal(camera.K, K)


def test_a_rectified_image_is_described_by_p_and_r():
    turn = cv2.Rodrigues(np.array([0.01, 0.03, -0.02]))[0]
    p = np.array([[500, 0, 320, 0], [0, 500, 240, 0], [0, 0, 1, 0]], float)
    camera = Camera.from_info(height=480, width=640, k=K.ravel(), d=[-0.3, 0.1, 0, 0, 0], distortion_model="plumb_bob",
                              r=turn.ravel(), p=p.ravel(), rectified=True)
    point = np.array([[0.5, -0.2, 4.0]])
    seen = turn @ point[0]
    expected = [500 * seen[0] / seen[2] + 320, 500 * seen[1] / seen[2] + 240]
    assert camera.project(point)[0] == pytest.approx(expected)
    assert camera.rays(np.array([expected]))[0] == pytest.approx(point[0] / np.linalg.norm(point))


@pytest.mark.parametrize("change, words", [
    ({"k": [0.0] * 9}, "not calibrated"),
    ({"k": [1.0] * 8}, "9 numbers"),
    ({"d": [0.1, 0.2]}, "takes 4 or 5"),
    ({"d": [np.nan] * 5}, "finite"),
    ({"distortion_model": "mirror", "d": [0.1] * 4}, "use one of plumb_bob"),
    ({"rectified": True}, "P with 12"),
    ({"roi": (600, 0, 480, 640)}, "leaves its sensor"),
    ({"width": 0}, "must be positive"),
])
def test_an_unusable_camera_info_says_why(change, words):
    info = {"height": 480, "width": 640, "k": K.ravel(), "d": [0.0] * 5, "distortion_model": "plumb_bob"} | change
    with pytest.raises(CameraError, match=words):
        Camera.from_info(**info)


K_OF_96X54 = (80.0, 0.0, 47.5, 0.0, 80.0, 26.5, 0.0, 0.0, 1.0)


def from_driver(name, d, **changes):
    return Camera.from_info(**{"height": 54, "width": 96, "k": K_OF_96X54, "d": d, "distortion_model": name, **changes})


@pytest.mark.parametrize(("name", "d", "model", "expected"), [
    ("plumb_bob", (-0.2, 0.1, 0.01, 0.02, 0, 0, 0, 0), "plumb_bob", (-0.2, 0.1, 0.01, 0.02)),
    ("plumb_bob", (-0.2, 0.1, 0, 0, 0.3) + (0,) * 7, "plumb_bob", (-0.2, 0.1, 0, 0, 0.3)),
    ("plumb_bob", (-0.2,) + (0,) * 13, "plumb_bob", (-0.2, 0, 0, 0)),
    ("plumb_bob", (-0.2, 0.1, 0, 0, 0.3, 0.1, 0, 0.01), "rational_polynomial", (-0.2, 0.1, 0, 0, 0.3, 0.1, 0, 0.01)),
    ("rational_polynomial", (0.1, 0, 0, 0, 0, 0, 0, 0.2) + (0,) * 6, "rational_polynomial", (0.1,) + (0,) * 6 + (0.2,)),
    ("equidistant", (0.1, 0.2, 0.3, 0.4, 0), "equidistant", (0.1, 0.2, 0.3, 0.4)),
    ("fisheye", (0.1, 0.2, 0.3, 0.4), "equidistant", (0.1, 0.2, 0.3, 0.4)),
    ("", (-0.2, 0.1, 0, 0, 0), "plumb_bob", (-0.2, 0.1, 0, 0)),
    *[(name, d, "plumb_bob", ()) for name in ("pinhole", "none", "fisheye", "", "whatever") for d in ((), (0,) * 5)],
])
def test_the_lens_as_drivers_write_it(name, d, model, expected):
    camera = from_driver(name, d)
    assert camera.model == model and camera.D.tolist() == list(expected)


@pytest.mark.parametrize(("name", "d", "words"), [
    ("pinhole", (0.1, 0, 0, 0), "'pinhole' is not supported"),
    ("plumb_bob", (0.1,) * 12, "12 parameters"),
    ("equidistant", (0.1,) * 5, "5 parameters"),
    ("plumb_bob", (0.1, 0.2), "takes 4 or 5"),
    ("plumb_bob", (float("nan"),) * 5, "not finite"),
])
def test_a_lens_that_is_not_known_is_refused(name, d, words):
    with pytest.raises(CameraError, match=words):
        from_driver(name, d)


def test_a_camera_info_without_size_is_of_no_calibrated_camera():
    with pytest.raises(CameraError, match="not calibrated"):
        from_driver("", (), height=0, width=0)


@pytest.mark.parametrize(("fx", "fy"), [(200, 50000), (50000, 200), (1e9, 1e9), (0.1, 0.1)])
def test_a_camera_that_cannot_be_is_refused(fx, fy):
    with pytest.raises(CameraError, match="no camera has focal lengths"):
        from_driver("", (), k=(fx, 0.0, 47.5, 0.0, fy, 26.5, 0.0, 0.0, 1.0))
